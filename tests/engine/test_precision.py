"""Which precision training runs in."""

import pytest
import torch

from deepclust.engine import Trainer


@pytest.mark.parametrize(("has_amx", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_asks_for_a_matrix_unit(has_amx, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)  # slower than fp32 where alone
    assert Trainer(device="cpu").resolve_precision() == expected
    assert Trainer(device="cpu", precision="fp32").resolve_precision() == "32-true"
    assert Trainer(device="cpu", precision="bf16").resolve_precision() == "bf16-mixed"
