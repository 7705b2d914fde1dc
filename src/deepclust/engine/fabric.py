"""What Lightning Fabric does for a run: device, precision, and the backward pass."""

from __future__ import annotations

import os
import warnings
from typing import Any

from deepclust import together


def make_fabric(device: str, precision: str) -> Any:
    """Make the Fabric of this process.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``mps``.
    precision
        ``"bf16-mixed"`` or ``"32-true"``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric  # costs over a second; only a fit pays it
        from lightning_fabric.plugins.precision import MixedPrecision, Precision

        plugin = MixedPrecision("bf16-mixed", device=device) if precision == "bf16-mixed" else Precision()
        several = device == "cuda" and together.world_size() > 1
        devices = [int(os.environ["LOCAL_RANK"])] if several else 1
        return Fabric(accelerator=device, devices=devices, plugins=[plugin])
