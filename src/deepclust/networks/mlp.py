"""Fully connected auto-encoders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, initialise, paired
from deepclust.params import Count


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
    """

    hidden: tuple[Count, ...] = (500, 500, 2000)
    latent: Count = 10

    def build(self, spec: Spec) -> Autoencoder:
        """Build for rows of any shape; images are flattened and restored."""
        sizes = (spec.size, *self.hidden)
        down = _relu_layers(sizes)
        up = _relu_layers((self.latent, *reversed(self.hidden)))
        last = nn.Linear(self.hidden[0] if self.hidden else self.latent, spec.outputs * spec.size)
        encoder, decoder = nn.Sequential(nn.Flatten(), *down), nn.Sequential(*up, last)
        decoder.append(nn.Unflatten(1, spec.output_shape))
        head = nn.Linear(sizes[-1], self.latent)
        network = Autoencoder(encoder, head, decoder, width=sizes[-1], latent=self.latent)
        network.stages = paired(
            [[nn.Flatten(), *down[:2]], *([*down[i : i + 2]] for i in range(2, len(down), 2)), [head]]
            if down
            else [[nn.Flatten(), head]],
            [*([*up[i : i + 2]] for i in range(0, len(up), 2)), [last, nn.Unflatten(1, spec.output_shape)]],
        )
        network.apply(initialise)
        return network


def _relu_layers(sizes: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return layers
