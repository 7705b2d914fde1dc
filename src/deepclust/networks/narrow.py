"""The small convolutional auto-encoder of an article on DEPICT: its code is an image of half the size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, channels_last, initialise, paired, without_bias
from deepclust.networks.transposed import Transposed
from deepclust.params import Count


@dataclass(frozen=True, repr=False)
class Narrow(AbstractNetwork):
    """Builder of that network, c-64-64-1-1 and back: three 3x3 layers and one of 2x2 and stride 2.

    Every layer is batch-normalised and squashed to (0, 1); the output is logits.

    Parameters
    ----------
    filters
        Of the first two layers.
    """

    filters: Count = 64

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows ``(c, h, w)``; sides that are odd lose their last line in the code, and get it back."""
        if not spec.is_image or min(spec.shape[1:]) < 2:
            raise InvalidDataError(
                f"Narrow needs images with sides of 2 or more, and X has rows of shape {spec.shape}. "
                "Use MLP for flat rows."
            )
        height, width = spec.shape[1:]
        inner = (height // 2, width // 2)
        latent = inner[0] * inner[1]
        widths = (spec.shape[0], self.filters, self.filters, 1)
        down = [_normalised(nn.Conv2d(a, b, 3, padding=1), b) for a, b in pairwise(widths)]
        out = (spec.output_shape[0], *widths[1:])
        up = [_normalised(Transposed(b, a, 3, padding=1), a) for a, b in pairwise(out)]
        up[0] = up[0][:2]  # logits
        halve = [*_normalised(nn.Conv2d(1, 1, 2, stride=2), 1), nn.Flatten()]
        odd = (height % 2, width % 2)
        double = [nn.Unflatten(1, (1, *inner)), *_normalised(Transposed(1, 1, 2, stride=2, output_padding=odd), 1)]
        encoder = nn.Sequential(*[module for part in down for module in part], *halve)
        decoder = nn.Sequential(*double, *[module for part in reversed(up) for module in part])
        network = Autoencoder(encoder, nn.Identity(), decoder, width=latent, latent=latent)
        network.stages = paired([*down, halve], [double, *reversed(up)])
        network.apply(initialise)
        return channels_last(network)


def _normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [without_bias(layer), nn.BatchNorm2d(channels), nn.Sigmoid()]
