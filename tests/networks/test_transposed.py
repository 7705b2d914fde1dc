import pytest
import torch
from torch import nn

from deepclust.networks.transposed import Transposed


@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2, "padding": (1, 0), "output_padding": (1, 0)}])
@pytest.mark.parametrize("bias", [True, False])
def test_is_a_transposed_convolution_forth_and_back(settings, bias):
    torch.manual_seed(0)
    theirs = nn.ConvTranspose2d(3, 4, 3, bias=bias, **settings).double()
    ours = Transposed(3, 4, 3, bias=bias, **settings).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(5, 3, 6, 7, dtype=torch.float64)
    outcomes = []
    for layer in (ours, theirs):
        x_own = x.clone().requires_grad_()
        y = layer(x_own)
        y.square().sum().backward()
        outcomes.append((y, x_own.grad, *(p.grad for p in layer.parameters())))
    for mine, reference in zip(*outcomes, strict=True):
        torch.testing.assert_close(mine, reference)


def test_keeps_the_type_that_autocast_gives():
    layer = Transposed(3, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.rand(2, 3, 5, 5)).dtype is torch.bfloat16


def test_refuses_an_output_size():
    with pytest.raises(NotImplementedError, match="output_size"):
        Transposed(3, 4, 3)(torch.rand(2, 3, 5, 5), output_size=[7, 7])
