"""The convolutional network of Dilokthanakul's GMVAE: normalised layers down to a single place, and the mirror."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, channels_last, initialise, paired, without_bias
from deepclust.networks.transposed import Transposed
from deepclust.params import Count

_KERNELS = ((6, 1, 0), (6, 1, 0), (4, 2, 1))  # side, stride, padding
_LEAST_SIDE = 14  # below it the three layers leave nothing


@dataclass(frozen=True, repr=False)
class Normed(AbstractNetwork):
    """Builder of that network: two 6x6 layers, a 4x4 layer of stride 2, one over the whole map; all batch-normalised.

    Parameters
    ----------
    filters
        Of the first three layers.
    dense
        Features of the last, which is as large as the map that the others leave (9x9 for sides of 28).
    latent
        Dimension of the code.
    """

    filters: tuple[Count, Count, Count] = (16, 32, 64)
    dense: Count = 500
    latent: Count = 200

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows ``(c, h, w)`` whose sides are at least 14."""
        if not spec.is_image or min(spec.shape[1:]) < _LEAST_SIDE:
            raise InvalidDataError(
                f"Normed needs images with sides of {_LEAST_SIDE} or more, and X has rows of shape {spec.shape}. "
                "Use Conv for smaller images, MLP for flat rows."
            )
        sides = [(spec.shape[1], spec.shape[2])]
        for k, s, p in _KERNELS:
            height, width = ((side + 2 * p - k) // s + 1 for side in sides[-1])
            sides.append((height, width))
        widths = (spec.shape[0], *self.filters, self.dense)
        layers: list[tuple[tuple[int, int], int, int]] = [*(((k, k), s, p) for k, s, p in _KERNELS), (sides[-1], 1, 0)]
        down: list[list[nn.Module]] = []
        up: list[list[nn.Module]] = []
        for (narrow, wide), (kernel, stride, padding), side in zip(pairwise(widths), layers, sides, strict=True):
            convolution = without_bias(nn.Conv2d(narrow, wide, kernel, stride, padding))
            down.append([convolution, nn.BatchNorm2d(wide), nn.ReLU()])
            lost = [(side[i] + 2 * padding - kernel[i]) % stride for i in (0, 1)]
            out = narrow if up else spec.output_shape[0]
            convolution = Transposed(wide, out, kernel, stride, padding, (lost[0], lost[1]))
            # The output is linear.
            up.append([without_bias(convolution), nn.BatchNorm2d(out), nn.ReLU()] if up else [convolution])
        head = nn.Linear(self.dense, self.latent)
        unfold = [
            without_bias(nn.Linear(self.latent, self.dense)),
            nn.BatchNorm1d(self.dense),
            nn.ReLU(),
            nn.Unflatten(1, (self.dense, 1, 1)),
        ]
        encoder = nn.Sequential(*[module for part in down for module in part], nn.Flatten())
        decoder = nn.Sequential(*unfold, *[module for part in reversed(up) for module in part])
        network = Autoencoder(encoder, head, decoder, width=self.dense, latent=self.latent)
        network.stages = paired([*down, [nn.Flatten(), head]], [unfold, *reversed(up)])
        network.apply(initialise)
        return channels_last(network)
