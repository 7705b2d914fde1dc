"""The convolutional auto-encoder of DCEC: kernels of 5, 5 and 3, each layer halves the map."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, channels_last, initialise, paired
from deepclust.networks.transposed import Transposed
from deepclust.params import Count

_KERNELS = (5, 5, 3)


@dataclass(frozen=True, repr=False)
class Halving(AbstractNetwork):
    """Builder of that network for images of any size; layers are padded as TensorFlow's "same", exactly.

    Parameters
    ----------
    filters
        Of the three layers.
    latent
        Dimension of the code.

    References
    ----------
    Guo, Liu, Zhu, Yin (2017), "Deep clustering with convolutional autoencoders", ICONIP.
    """

    filters: tuple[Count, Count, Count] = (32, 64, 128)
    latent: Count = 10

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows ``(c, h, w)``."""
        if not spec.is_image:
            raise InvalidDataError(
                f"Halving needs images, and X has flat rows of {spec.size} values. "
                "Reshape X to (n, h, w), or use an MLP network."
            )
        sides = (spec.shape[1], spec.shape[2])
        down: list[list[nn.Module]] = []
        up: list[list[nn.Module]] = []
        for number, (narrow, wide) in enumerate(pairwise((spec.shape[0], *self.filters))):
            kernel = _KERNELS[number]
            is_last = number == len(_KERNELS) - 1
            small = tuple(_halved(side, kernel, is_last=is_last) for side in sides)
            # What the transposed layer gives beyond the side that it must restore is what "same" pads.
            extra = [2 * (s - 1) + kernel - side for s, side in zip(small, sides, strict=True)]
            frame = [extra[1] // 2, extra[1] - extra[1] // 2, extra[0] // 2, extra[0] - extra[0] // 2]
            down.append([_frame(frame), nn.Conv2d(narrow, wide, kernel, stride=2), nn.ReLU()])
            out = narrow if up else spec.output_shape[0]
            mirror = [Transposed(wide, out, kernel, stride=2), _frame([-side for side in frame])]
            up.append([*mirror, nn.ReLU()] if up else mirror)  # the output is linear
            sides = (small[0], small[1])
        flat = self.filters[-1] * sides[0] * sides[1]
        head = nn.Linear(flat, self.latent)
        unfold = [nn.Linear(self.latent, flat), nn.ReLU(), nn.Unflatten(1, (self.filters[-1], *sides))]
        encoder = nn.Sequential(*[module for part in down for module in part], nn.Flatten())
        decoder = nn.Sequential(*unfold, *[module for part in reversed(up) for module in part])
        network = Autoencoder(encoder, head, decoder, width=flat, latent=self.latent)
        network.stages = paired([*down, [nn.Flatten(), head]], [unfold, *reversed(up)])
        network.apply(initialise)
        return channels_last(network)


def _halved(side: int, kernel: int, *, is_last: bool) -> int:
    """Return half a side, rounded up; the last layer takes an odd one without padding, where it can."""
    return (side - kernel) // 2 + 1 if is_last and side % 2 and side >= kernel else -(-side // 2)


def _frame(sides: list[int]) -> nn.Module:
    return nn.ZeroPad2d((sides[0], sides[1], sides[2], sides[3]))
