"""What every trained model can do; the rest of the library is written against these verbs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepclust.networks.autoencoder import Autoencoder
from deepclust.networks.heads import AbstractGenerativeHead, AbstractHead
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.networks.variational import Variational


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

    def complaints(self) -> list[str]:
        """Return what is not healthy about the parameters, a sentence each that stays the same while it lasts."""
        return []

    @property
    def by_cluster(self) -> list[Tensor]:
        """Parameters and buffers that have one entry a cluster, along their first axis; by default none."""
        return []

    def reseed(self, cluster: int, z: Float[Tensor, " d"]) -> bool:
        """Place a cluster that has lost its rows at a code, and return whether that was done; by default it is not."""
        return False


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

    @property
    @abstractmethod
    def code_moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of every cluster's codes."""

    @abstractmethod
    def sample_codes(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw one code from each of these clusters; the temperature multiplies the spread."""

    def code_assignment(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the probability of every cluster given a code; by default that of the decoded row."""
        return self.assign(self.decode(z))


class AbstractVariationalModel(AbstractGenerativeModel):
    """A generative model with a posterior over what is hidden."""

    @property
    @abstractmethod
    def noise_size(self) -> int:
        """Standard normal values that one draw from the posterior takes."""

    @abstractmethod
    def log_weights(self, x: Float[Tensor, "b *shape"], noise: Float[Tensor, "b e"]) -> Float[Tensor, " b"]:
        """Return log p(x, h) - log q(h|x) for hidden values h drawn with this noise, in nats."""

    def log_evidence(self, x: Float[Tensor, "b *shape"], noise: Float[Tensor, "s e"]) -> Float[Tensor, " b"]:
        r"""Return the importance-weighted estimate of log p(x).

        .. math:: \log \tfrac1S \sum_s p(x, h_s) / q(h_s|x)

        References
        ----------
        Burda, Grosse, Salakhutdinov (2016), "Importance weighted autoencoders", eq. 8.
        """
        draws = noise.to(x.device)
        weights = torch.stack([self.log_weights(x, draw.expand(len(x), -1)) for draw in draws])
        return torch.logsumexp(weights, dim=0) - math.log(len(draws))


class UnitClassModel(AbstractGenerativeModel):
    """A generative model whose classes are equally large, and Gaussian with unit variance around ``means``."""

    means: nn.Parameter

    @property
    def cluster_weights(self) -> Float[Tensor, " k"]:
        """Uniform."""
        return torch.full((len(self.means),), 1 / len(self.means))

    @property
    def code_moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Class means, and the unit deviation around them."""
        return self.means.detach(), torch.ones_like(self.means)

    def sample_codes(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw codes around class means."""
        noise = torch.randn(len(clusters), self.means.shape[1], generator=generator)
        return self.means[clusters] + temperature * noise


class PartitionModel(AbstractDecodingModel):
    """An auto-encoder and a partition of its codes."""

    def __init__(self, network: Autoencoder | Variational, likelihood: AbstractLikelihood, head: AbstractHead) -> None:
        super().__init__()
        self.network = network
        self.likelihood = likelihood
        self.head = head

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return (mean) codes."""
        return self.network.embed(x)

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the partition's probabilities."""
        return self.head.assign(self.embed(x))

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return how well codes fit the partition: log-density, or minus the squared distance."""
        return self.head.score(self.embed(x))

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of every code."""
        return self.likelihood.mean(self.network.decode(z))


class GenerativePartitionModel(PartitionModel, AbstractGenerativeModel):
    """One whose partition has a density, so that new members can be drawn."""

    head: AbstractGenerativeHead

    @property
    def cluster_weights(self) -> Float[Tensor, " k"]:
        """Share of every cluster."""
        return self.head.weights

    @property
    def code_moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of every component."""
        return self.head.moments

    def code_assignment(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the posterior of every component given a code."""
        return self.head.assign(z)

    def sample_codes(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw codes from components."""
        return self.head.sample(clusters, generator, temperature)
