"""What every trained model can do; the rest of the library is written against these verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class AbstractClusterModel(nn.Module, ABC):
    """A network that embeds rows and assigns them to clusters. Rows come scaled by the fitted `Scaler`."""

    @abstractmethod
    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Encode rows, without noise."""

    @abstractmethod
    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the probability of every cluster; rows sum to one, nothing is sampled."""

    @abstractmethod
    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return how well each row fits the model: its objective's sense of better, higher is better."""


class AbstractDecodingModel(AbstractClusterModel):
    """A model that can turn codes back into rows."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of every code, in the network's units."""


class AbstractGenerativeModel(AbstractDecodingModel):
    """A model with a distribution of codes for every cluster, from which new members can be drawn."""

    @property
    @abstractmethod
    def cluster_weights(self) -> Float[Tensor, " k"]:
        """Share of every cluster; sums to one."""

    @abstractmethod
    def sample_codes(self, clusters: Int64[Tensor, " n"], generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draw one code from each of these clusters."""
