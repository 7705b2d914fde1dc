"""JULE's convolutional encoder: blocks of convolution, batch normalisation, ReLU and pooling, and a linear feature."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, channels_last, without_bias
from deepclust.params import Count, PositiveFloat

_KERNEL = 5
_LEAST_SIDE = 10  # no further block where the map is smaller than this
_LAST_POOLED = 9  # a map of at least this side is pooled
_PADDED_BELOW = 12  # small images keep their size through a convolution


@dataclass(frozen=True, repr=False)
class Pooled(AbstractNetwork):
    """Builder of JULE's encoder for images of any size; there is no decoder.

    Parameters
    ----------
    filters
        Of every block.
    latent
        Length of the feature.
    spread
        Standard deviation of the initial weights.
    """

    filters: Count = 50
    latent: Count = 160
    spread: PositiveFloat = 0.01

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows ``(c, h, w)``."""
        if not spec.is_image:
            raise InvalidDataError(
                f"Pooled needs images, and X has flat rows of {spec.size} values. "
                "Reshape X to (n, h, w), or use an MLP network."
            )
        channels, *sides = spec.shape
        pad = _KERNEL // 2 if min(sides) < _PADDED_BELOW else 0
        layers: list[nn.Module] = []
        while not layers or min(sides) >= _LEAST_SIDE:
            convolution = nn.Conv2d(channels, self.filters, _KERNEL, padding=pad)
            layers += [without_bias(convolution), nn.BatchNorm2d(self.filters), nn.ReLU()]
            sides, channels = [side - _KERNEL + 1 + 2 * pad for side in sides], self.filters
            if min(sides) >= _LAST_POOLED or len(layers) == 3:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                sides = [math.ceil(side / 2) for side in sides]
        flat = channels * sides[0] * sides[1]
        network = Autoencoder(
            nn.Sequential(*layers, nn.Flatten()),
            nn.Linear(flat, self.latent),
            nn.Identity(),
            width=flat,
            latent=self.latent,
        )
        network.apply(self._initialise)
        return channels_last(network)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=self.spread)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
