"""Builders give networks that fit the data, of the published sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from deepclust import MLP, Conv, Halving, Narrow, Normed, Pooled, VaDE
from deepclust.data.rows import Spec, as_rows
from deepclust.errors import InvalidDataError, InvalidParameterError
from deepclust.networks import Custom, Scaler, Variational


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_vade_on_mnist_has_the_published_number_of_parameters():
    model = VaDE.preset("paper", data="mnist")._build(Spec((784,), 70_000))
    assert count(model.network) == 3_350_804
    assert count(model.mixture) == 210


def test_auto_encoder_of_dec_has_the_published_number_of_parameters():
    network = MLP().build(Spec((784,), 70_000))
    assert count(network) == 3_330_794
    assert count(network.encoder) + count(network.head) == 1_665_010


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from(["auto", (4,), (4, 8, 8)]))
def test_convolutional_network_restores_every_size(height, width, channels, filters):
    network = Conv(channels=filters, dense=8, latent=3).build(Spec((channels, height, width), 10))
    x = torch.randn(2, channels, height, width)
    z = network.embed(x)
    assert z.shape == (2, 3)
    assert network.decode(z).shape == x.shape


@pytest.mark.parametrize(("side", "filters"), [(28, 2), (16, 2), (32, 3), (8, 1), (224, 5), (5, 1)])
def test_convolutional_network_halves_until_seven(side, filters):
    network = Conv().build(Spec((1, side, side), 10))
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == filters


def test_convolutional_network_refuses_flat_rows():
    with pytest.raises(InvalidDataError, match="flat rows of 64"):
        Conv().build(Spec((64,), 10))


@given(st.lists(st.integers(1, 9), max_size=3), st.integers(1, 5), st.integers(1, 12))
def test_fully_connected_network_restores_every_size(hidden, latent, d):
    network = MLP(hidden=tuple(hidden), latent=latent).build(Spec((d,), 10))
    z = network.embed(torch.randn(3, d))
    assert z.shape == (3, latent)
    assert network.decode(z).shape == (3, d)


def test_weights_start_as_glorot_and_biases_at_zero():
    torch.manual_seed(0)
    layer = MLP().build(Spec((784,), 10)).encoder[1].requires_grad_(False)
    bound = (6 / (784 + 500)) ** 0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert (layer.bias == 0).all()


@pytest.mark.parametrize(
    ("encoder", "decoder", "sentence"),
    [
        (torch.nn.Linear(7, 2), torch.nn.Linear(2, 6), "encoder in 'network' cannot take"),
        (torch.nn.Linear(6, 2), torch.nn.Linear(2, 5), "decoder in 'network' must map"),
        (torch.nn.Unflatten(1, (2, 3)), torch.nn.Linear(2, 6), r"must map \(b, 6\) to \(b, d\)"),
    ],
)
def test_modules_that_do_not_fit_are_refused_by_name(encoder, decoder, sentence):
    with pytest.raises(InvalidParameterError, match=sentence):
        Custom(encoder, decoder).build(Spec((6,), 10))


def test_reset_makes_every_posterior_the_same_small_one():
    network = Variational(MLP(hidden=(8,), latent=3).build(Spec((5,), 10)))
    network.reset_log_var(-4.0)
    _, log_var = network.posterior(torch.randn(4, 5))
    assert_close(log_var, torch.full((4, 3), -4.0))


@pytest.mark.parametrize("scaling", ["unit", "symmetric", "standard", "none"])
@pytest.mark.parametrize("offset", [0.0, 1e8, -3e5])
def test_scaler_maps_to_its_range_and_back(scaling, offset):
    X = np.random.default_rng(0).normal(size=(50, 4)) * [1, 10, 0.1, 0] + offset
    rows = as_rows(X)
    scaler = Scaler.fit(rows, scaling)
    z = scaler(torch.from_numpy(X))
    assert z.dtype == torch.float32
    if scaling == "unit":
        assert (float(z.min()), float(z.max())) == pytest.approx((0, 1), abs=1e-5)
    if scaling == "symmetric":
        assert (float(z.min()), float(z.max())) == pytest.approx((-1, 1), abs=1e-5)
    if scaling == "standard":
        assert_close(z.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
        assert_close(z.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-3, rtol=0)
    resolution = max(1e-5, abs(offset) * 1.2e-7)  # of the single precision that the answer has
    np.testing.assert_allclose(scaler.inverse(z).numpy(), X, atol=50 * resolution)


def test_bytes_of_images_are_scaled_by_the_full_byte_range():
    X = np.random.default_rng(0).integers(3, 250, (20, 4, 4), dtype=np.uint8)
    z = Scaler.fit(as_rows(X), "unit")(torch.from_numpy(X))
    assert_close(z, torch.from_numpy(X).float() / 255)


def test_normalised_network_has_one_place_after_the_published_kernels():
    network = Normed().build(Spec((1, 28, 28), 10))
    convolutions = [m for m in network.encoder if isinstance(m, torch.nn.Conv2d)]
    assert [m.kernel_size for m in convolutions] == [(6, 6), (6, 6), (4, 4), (9, 9)]
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.encoder) == 4


@settings(max_examples=20, deadline=None)
@given(st.integers(14, 33), st.integers(14, 33), st.sampled_from([1, 3]))
def test_normalised_network_restores_every_size(height, width, channels):
    network = Normed(filters=(2, 3, 4), dense=5, latent=3).build(Spec((channels, height, width), 10))
    x = torch.randn(2, channels, height, width)
    z = network.embed(x)
    assert z.shape == (2, 3)
    assert network.decode(z).shape == x.shape


@pytest.mark.parametrize("shape", [(64,), (1, 13, 28)])
def test_normalised_network_refuses_flat_rows_and_small_images(shape):
    with pytest.raises(InvalidDataError, match="sides of 14"):
        Normed().build(Spec(shape, 10))


def test_only_the_encoder_of_a_normalised_mlp_is_normalised():
    network = MLP(hidden=(6, 5), latent=2, norm=True).build(Spec((4,), 10))
    assert sum(isinstance(m, torch.nn.BatchNorm1d) for m in network.encoder) == 2
    assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in network.decoder)
    assert len(network.stages) == 3


@pytest.mark.parametrize(("side", "parameters", "inner"), [(28, 275_979, 1152), (16, 262_539, 512)])
def test_network_of_dcec_has_the_published_sizes(side, parameters, inner):
    network = Halving().build(Spec((1, side, side), 10))
    assert count(network) == parameters
    assert network.width == inner


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 33), st.integers(2, 33), st.sampled_from([1, 3]), st.sampled_from([Halving, Narrow]))
def test_networks_of_articles_restore_every_size(height, width, channels, builder):
    network = builder(filters=(2, 3, 4)) if builder is Halving else builder(filters=2)
    network = network.build(Spec((channels, height, width), 10))
    x = torch.randn(2, channels, height, width)
    assert network.decode(network.embed(x)).shape == x.shape
    for encode, decode in network.stages:
        assert decode(encode(x)).shape == x.shape
        x = encode(x)


@pytest.mark.parametrize("builder", [Pooled(filters=4), Normed(filters=(3, 4, 5)), Narrow(filters=4), MLP(norm=True)])
def test_no_gradient_is_rounding_alone(builder):
    # Adam makes a full step of any: such parameters would wander, and no two runs be the same.
    torch.manual_seed(0)
    network = builder.build(Spec((1, 16, 16), 10)).double()
    z = network.head(network.encoder(torch.rand(64, 1, 16, 16, dtype=torch.float64)))
    out = network.decode(z)
    ((out * torch.randn_like(out)).sum() + (z * torch.randn_like(z)).sum()).backward()
    sizes = {name: float(p.grad.norm()) for name, p in network.named_parameters()}
    assert min(sizes.values()) > 1e-9 * max(sizes.values()), sizes


def test_small_variant_has_a_code_of_half_the_side():
    network = Narrow().build(Spec((1, 28, 28), 10))
    assert network.latent == 196
    assert len(network.stages) == 4
    code = network.embed(torch.rand(5, 1, 28, 28))
    assert 0 < code.min() < code.max() < 1


@pytest.mark.parametrize("builder", [Halving, Narrow])
def test_networks_of_articles_refuse_flat_rows(builder):
    with pytest.raises(InvalidDataError, match="flat rows"):
        builder().build(Spec((64,), 10))
