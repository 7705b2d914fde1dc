"""DEPICT's convolutional auto-encoder: two strided layers, a tanh code, and an exact mirror."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

from torch import nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, channels_last, initialise, paired
from deepclust.networks.transposed import Transposed
from deepclust.params import Count, NonNegativeFloat

_ONE_LAYER = 12  # below this side, one layer
_INNER = 10  # the side of the inner map that padding aims at
_PUBLISHED = {28: (0, 2), 16: (0, 2), 32: (2, 2), 55: (2, 0)}  # paddings of both layers, by side

Side = tuple[int, int]


@dataclass(frozen=True, repr=False)
class Strided(AbstractNetwork):
    """Builder of DEPICT's network for images of any size.

    Kernels are 4 on an even side and 5 on an odd one, so that transposed layers invert the sizes exactly. Rows should
    be scaled to [-1, 1]: the output is a tanh.

    Parameters
    ----------
    filters
        Of both layers.
    latent
        Dimension of the code; the publication's is the number of clusters.
    slope
        Of the units' negative part.
    init
        ``"glorot"`` is the publication's; with these units each layer then weakens its input, and training stays for
        long where the output is one mean row.
    """

    filters: Count = 50
    latent: Count = 10
    slope: NonNegativeFloat = 0.01
    init: Literal["he", "glorot"] = "he"

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows ``(c, h, w)``."""
        if not spec.is_image:
            raise InvalidDataError(
                f"Strided needs images, and X has flat rows of {spec.size} values. "
                "Reshape X to (n, h, w), or use an MLP network."
            )
        height, width = (_geometry(side) for side in spec.shape[1:])
        layers = min(len(height), len(width))
        sizes = [tuple(g[i][0] for g in (height, width)) for i in range(layers)]
        last = tuple(_shrunk(g[layers - 1]) for g in (height, width))
        kernels: list[Side] = [(_kernel(size[0]), _kernel(size[1])) for size in sizes]
        paddings = [(height[i][1], width[i][1]) for i in range(layers)]
        flat = self.filters * last[0] * last[1]
        widths = (spec.shape[0], *[self.filters] * layers)
        down: list[list[nn.Module]] = []
        up: list[list[nn.Module]] = []
        for (narrow, wide), kernel, padding in zip(pairwise(widths), kernels, paddings, strict=True):
            down.append([nn.Conv2d(narrow, wide, kernel, stride=2, padding=padding), nn.LeakyReLU(self.slope)])
            out = spec.output_shape[0] if not up else narrow
            unit = nn.Tanh() if not up else nn.LeakyReLU(self.slope)
            up.append([Transposed(wide, out, kernel, stride=2, padding=padding), unit])
        head = nn.Sequential(nn.Linear(flat, self.latent), nn.Tanh())
        unfold = [nn.Linear(self.latent, flat), nn.LeakyReLU(self.slope), nn.Unflatten(1, (self.filters, *last))]
        encoder = nn.Sequential(*[module for part in down for module in part], nn.Flatten())
        decoder = nn.Sequential(*unfold, *[module for part in reversed(up) for module in part])
        network = Autoencoder(encoder, head, decoder, width=flat, latent=self.latent)
        network.stages = paired([*down, [nn.Flatten(), head]], [unfold, *reversed(up)])
        network.apply(initialise if self.init == "glorot" else self._initialise)
        return channels_last(network)

    def _initialise(self, module: nn.Module) -> None:
        """Keep the variance of activations from layer to layer."""
        if isinstance(module, nn.ConvTranspose2d):
            # Each output value sums over every filter and a quarter of the kernel.
            nn.init.xavier_uniform_(module.weight, gain=2.0)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, a=self.slope)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _geometry(side: int) -> list[Side]:
    """Return side and padding before each layer."""
    if side < _ONE_LAYER:
        return [(side, 2)]
    first, second = _PUBLISHED.get(side) or min(
        product((0, 2), repeat=2), key=lambda pads: abs(_shrunk((_shrunk((side, pads[0])), pads[1])) - _INNER)
    )
    return [(side, first), (_shrunk((side, first)), second)]


def _shrunk(layer: Side) -> int:
    """Return the side behind a layer of stride 2, whose kernel is 4 on an even side and 5 on an odd one."""
    side, padding = layer
    return (side + 2 * padding - _kernel(side)) // 2 + 1


def _kernel(side: int) -> int:
    return 4 if side % 2 == 0 else 5
