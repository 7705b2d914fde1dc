"""Fully connected auto-encoders."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, initialise, paired, without_bias
from deepclust.params import ADDED, Count


@dataclass(frozen=True, repr=False)
class MLP(AbstractNetwork):
    """Builder of a fully connected auto-encoder with ReLU units and linear heads.

    The default is the network of DEC, VaDE and their successors: ``d-500-500-2000-10`` and back.

    Parameters
    ----------
    hidden
        Units of the encoder's hidden layers; the decoder mirrors them.
    latent
        Dimension of the code.
    norm
        Normalise the encoder's hidden layers over the batch.
    """

    hidden: tuple[Count, ...] = (500, 500, 2000)
    latent: Count = 10
    norm: bool = field(default=False, metadata=ADDED)

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows of any shape; images are flattened and restored."""
        sizes = (spec.size, *self.hidden)
        down = _relu_layers(sizes, norm=self.norm)
        up = _relu_layers((self.latent, *reversed(self.hidden)))
        last = nn.Linear(self.hidden[0] if self.hidden else self.latent, spec.outputs * spec.size)
        encoder, decoder = nn.Sequential(nn.Flatten(), *chain(*down)), nn.Sequential(*chain(*up), last)
        decoder.append(nn.Unflatten(1, spec.output_shape))
        head = nn.Linear(sizes[-1], self.latent)
        network = Autoencoder(encoder, head, decoder, width=sizes[-1], latent=self.latent)
        network.stages = paired(
            [[nn.Flatten(), *down[0]], *down[1:], [head]] if down else [[nn.Flatten(), head]],
            [*up, [last, nn.Unflatten(1, spec.output_shape)]],
        )
        network.apply(initialise)
        return network


def _relu_layers(sizes: tuple[int, ...], *, norm: bool = False) -> list[list[nn.Module]]:
    def layer(wide: int, narrow: int) -> list[nn.Module]:
        linear = nn.Linear(wide, narrow)
        return [without_bias(linear), nn.BatchNorm1d(narrow), nn.ReLU()] if norm else [linear, nn.ReLU()]

    return [layer(wide, narrow) for wide, narrow in pairwise(sizes)]
