"""The convolutional network of one-step VAE clustering."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, channels_last, initialise
from deepclust.networks.conv import halved_sides, up_padding
from deepclust.networks.transposed import Transposed
from deepclust.params import Count, NonNegativeFloat


@dataclass(frozen=True, repr=False)
class DoubleConv(AbstractNetwork):
    """Builder of a convolutional auto-encoder with two 3x3 layers a scale, of stride 2 and 1, and leaky ReLU units.

    Parameters
    ----------
    channels
        Filters of each scale.
    latent
        Dimension of the code.
    slope
        Of the units' negative part.
    """

    channels: tuple[Count, ...] = (32, 64)
    latent: Count = 20
    slope: NonNegativeFloat = 0.2

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows ``(c, h, w)``; transposed layers restore every odd and even side exactly."""
        if not spec.is_image:
            raise InvalidDataError(
                f"DoubleConv needs images, and X has flat rows of {spec.size} values. "
                "Reshape X to (n, h, w), or use an MLP network."
            )
        sides = halved_sides(spec.shape[1:], len(self.channels))
        last = self.channels[-1]
        flat = last * sides[-1][0] * sides[-1][1]
        down: list[nn.Module] = []
        for narrow, wide in pairwise((spec.shape[0], *self.channels)):
            down += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), self._unit()]
            down += [nn.Conv2d(wide, wide, 3, padding=1), self._unit()]
        up: list[nn.Module] = []
        filters = tuple(reversed(self.channels))
        for (wide, narrow), small, large in zip(pairwise((last, *filters)), sides[:0:-1], sides[-2::-1], strict=True):
            up += [Transposed(wide, narrow, 3, padding=1), self._unit()]
            padding = up_padding(small, large)
            up += [
                Transposed(narrow, narrow, 3, stride=2, padding=1, output_padding=padding),
                self._unit(),
            ]
        decoder = nn.Sequential(
            nn.Linear(self.latent, flat),
            nn.Unflatten(1, (last, *sides[-1])),
            *up,
            Transposed(filters[-1], spec.output_shape[0], 3, padding=1),
        )
        head = nn.Linear(flat, self.latent)
        network = Autoencoder(nn.Sequential(*down, nn.Flatten()), head, decoder, width=flat, latent=self.latent)
        network.apply(initialise)
        return channels_last(network)

    def _unit(self) -> nn.Module:
        return nn.LeakyReLU(self.slope)
