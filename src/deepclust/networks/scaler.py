"""The first layer of every model: it brings the user's units to the network's and back."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor, nn

from deepclust.data.rows import Rows, value_range

Scaling = Literal["unit", "symmetric", "standard", "none"]


class Scaler(nn.Module):
    r"""An affine map with fitted buffers, :math:`(x - s) \cdot c`.

    ``shift`` is kept as a sum of two single-precision parts, so that features far from zero lose nothing and no device
    needs double precision. A constant feature maps to the bottom of the range (``unit``, ``symmetric``) or to zero
    (``standard``).
    """

    shift: Tensor
    shift_low: Tensor
    scale: Tensor

    def __init__(self, shift: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        high = np.asarray(shift, dtype=np.float32)
        low = np.asarray(np.asarray(shift, dtype=np.float64) - high, dtype=np.float32)
        self.register_buffer("shift", torch.from_numpy(high.reshape(high.shape)))
        self.register_buffer("shift_low", torch.from_numpy(low.reshape(high.shape)))
        self.register_buffer("scale", torch.from_numpy(np.asarray(scale, dtype=np.float32).reshape(high.shape)))

    @classmethod
    def fit(cls, rows: Rows, scaling: Scaling) -> Scaler:
        """Fit to the data: ``unit`` to [0, 1] and ``symmetric`` to [-1, 1] by the range of all values (the full byte
        range for bytes), ``standard`` to mean 0 and standard deviation 1 by feature.
        """
        spec, moments = rows.spec, rows.moments
        if scaling == "standard":
            return cls(moments.mean, _inverse(moments.std, np.abs(moments.mean)))
        low, high = value_range(spec)
        span = high - low
        shift = {"unit": low, "symmetric": low + span / 2, "none": 0.0}[scaling]
        scale = {"unit": 1 / span, "symmetric": 2 / span, "none": 1.0}[scaling]
        return cls(np.asarray(shift), np.asarray(scale))

    @classmethod
    def blank(cls, state: dict[str, Tensor], prefix: str) -> Scaler:
        """Make a scaler of the shapes in a saved state, to be filled by ``load_state_dict``."""
        shape = tuple(state[f"{prefix}shift"].shape)
        return cls(np.zeros(shape), np.ones(shape))

    def forward(self, x: Shaped[Tensor, "b *shape"]) -> Float32[Tensor, "b *shape"]:
        """Bring user units to network units. Wide integers are subtracted in double precision, bytes in single."""
        if x.dtype in (torch.int32, torch.int64):
            x = x.double()
        elif x.dtype not in (torch.float32, torch.float64):
            x = x.float()
        return ((x - self.shift - self.shift_low) * self.scale).float()

    def variance(self, rows: Rows) -> float:
        """Return the variance of these rows in network units, summed over features."""
        return float(np.square(rows.moments.std * self.scale.double().numpy()).sum())

    def inverse(self, x: Float32[Tensor, "b *shape"]) -> Float32[Tensor, "b *shape"]:
        """Bring network units back to the user's."""
        safe = torch.where(self.scale == 0, torch.ones_like(self.scale), self.scale)
        back = torch.where(self.scale == 0, torch.zeros_like(x), x / safe)
        return back + self.shift_low + self.shift


def _inverse(std: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Invert standard deviations; what only rounding keeps from zero counts as constant and gets scale zero."""
    constant = std <= 1e-12 * np.maximum(size, 1e-300)
    return np.where(constant, 0.0, 1 / np.where(constant, 1.0, std))
