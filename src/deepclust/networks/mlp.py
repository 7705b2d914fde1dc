"""Fully connected auto-encoders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from deepclust.data.rows import Spec
from deepclust.networks.autoencoder import AbstractNetwork, Autoencoder, initialise
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
        encoder = nn.Sequential(nn.Flatten(), *_relu_layers(sizes))
        decoder = nn.Sequential(
            *_relu_layers((self.latent, *reversed(self.hidden))),
            nn.Linear(self.hidden[0] if self.hidden else self.latent, spec.size),
            nn.Unflatten(1, spec.shape),
        )
        head = nn.Linear(sizes[-1], self.latent)
        network = Autoencoder(encoder, head, decoder, width=sizes[-1], latent=self.latent)
        network.apply(initialise)
        return network


def _relu_layers(sizes: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return layers
