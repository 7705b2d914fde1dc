"""Convolutional auto-encoders for images of any size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, initialise, paired
from deepclust.networks.transposed import Transposed
from deepclust.params import Auto, Count, NonNegativeInt

_STOP_SIDE = 7  # halve until the longer side is at most this: 28 -> 14 -> 7, 16 -> 8 -> 4


@dataclass(frozen=True, repr=False)
class Conv(AbstractNetwork):
    """Builder of a convolutional auto-encoder: strided 3x3 layers, one dense layer, a linear code, and the mirror.

    Parameters
    ----------
    channels
        Filters of the layers, each of stride 2. ``"auto"`` takes 32, 64, 128, ... (at most 256) until the inner map's
        longer side is at most 7.
    dense
        Units of the fully connected layer between the inner map and the code; 0 leaves it out.
    latent
        Dimension of the code.
    """

    channels: tuple[Count, ...] | Auto = "auto"
    dense: NonNegativeInt = 256
    latent: Count = 10

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows ``(c, h, w)``; transposed layers restore every odd and even side exactly."""
        if not spec.is_image:
            raise InvalidDataError(
                f"Conv needs images, and X has flat rows of {spec.size} values. "
                "Reshape X to (n, h, w), or use an MLP network."
            )
        filters = _auto_filters(spec.shape) if self.channels == "auto" else tuple(self.channels)
        sides = halved_sides(spec.shape[1:], len(filters))
        flat = filters[-1] * sides[-1][0] * sides[-1][1] if filters else spec.size
        width = self.dense or flat
        down, dense = _down((spec.shape[0], *filters)), _dense_layer(flat, self.dense)
        encoder = nn.Sequential(*down, nn.Flatten(), *dense)
        inner = (filters[-1] if filters else spec.shape[0], *sides[-1])
        code = _dense_layer(self.latent, self.dense)
        unfold = [nn.Linear(self.dense or self.latent, flat), nn.ReLU(), nn.Unflatten(1, inner)]
        up = _up((*reversed(filters), spec.output_shape[0]), sides)
        decoder = nn.Sequential(*code, *unfold, *up)
        head = nn.Linear(width, self.latent)
        network = Autoencoder(encoder, head, decoder, width=width, latent=self.latent)
        inward = [down[i : i + 2] for i in range(0, len(down), 2)]
        outward = [up[i : i + 2] for i in range(0, len(up), 2)]
        if dense:
            network.stages = paired([*inward, [nn.Flatten(), *dense], [head]], [code, unfold, *outward])
        else:
            network.stages = paired([*inward, [nn.Flatten(), head]], [unfold, *outward])
        network.apply(initialise)
        return network


def _auto_filters(shape: tuple[int, ...]) -> tuple[int, ...]:
    side, count = max(shape[1:]), 32
    filters: list[int] = []
    while side > _STOP_SIDE or not filters:
        filters.append(min(count, 256))
        side, count = -(-side // 2), count * 2
    return tuple(filters)


def halved_sides(shape: tuple[int, ...], layers: int) -> list[tuple[int, int]]:
    """Height and width before the first layer and after each; a 3x3 layer of stride 2 halves, rounding up."""
    sides = [(shape[0], shape[1])]
    for _ in range(layers):
        height, width = sides[-1]
        sides.append((-(-height // 2), -(-width // 2)))
    return sides


def _down(filters: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(filters):
        layers += [nn.Conv2d(narrow, wide, kernel_size=3, stride=2, padding=1), nn.ReLU()]
    return layers


def _up(filters: tuple[int, ...], sides: list[tuple[int, int]]) -> list[nn.Module]:
    """Mirror of `_down`; ``output_padding`` says which of the two sides that halve to this one is meant."""
    layers: list[nn.Module] = []
    for (wide, narrow), small, large in zip(pairwise(filters), sides[:0:-1], sides[-2::-1], strict=True):
        padding = up_padding(small, large)
        layers += [
            Transposed(wide, narrow, kernel_size=3, stride=2, padding=1, output_padding=padding),
            nn.ReLU(),
        ]
    return layers[:-1]  # the output is linear


def up_padding(small: tuple[int, int], large: tuple[int, int]) -> tuple[int, int]:
    """Return the output padding by which a transposed 3x3 layer of stride 2 maps one size to the other."""
    return large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1


def _dense_layer(size: int, units: int) -> list[nn.Module]:
    return [nn.Linear(size, units), nn.ReLU()] if units else []
