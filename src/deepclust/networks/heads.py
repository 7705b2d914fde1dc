"""Heads that turn codes into clusters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepclust.objectives.gaussian import log_normal
from deepclust.objectives.mixture import Mixture, log_joint
from deepclust.objectives.reconstruction import LOG_2PI

_LOG_VAR_RANGE = (-12.0, 12.0)


class AbstractHead(nn.Module, ABC):
    """A partition of the code space."""

    @abstractmethod
    def assign(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the probability of every cluster."""

    @abstractmethod
    def score(self, z: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Return how well each code fits the partition, higher is better."""


class AbstractGenerativeHead(AbstractHead):
    """A partition with a density."""

    @property
    @abstractmethod
    def weights(self) -> Float[Tensor, " k"]:
        """Share of every cluster."""

    @property
    @abstractmethod
    def moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of every cluster."""

    @abstractmethod
    def sample(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw one code from each of these clusters; the temperature multiplies the spread."""


class DiagonalMixture(nn.Module):
    """A trainable mixture: free logits for the weights, log-variances for the spreads."""

    def __init__(self, k: int, d: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(k))
        self.means = nn.Parameter(torch.zeros(k, d))
        self.log_vars = nn.Parameter(torch.zeros(k, d))

    @torch.no_grad()
    def place(self, mixture: Mixture) -> None:
        """Take the parameters of a fitted mixture."""
        self.logits.copy_(mixture.weights.clamp(min=1e-8).log())
        self.means.copy_(mixture.means)
        self.log_vars.copy_(mixture.variances.clamp(min=1e-8).log().clamp(*_LOG_VAR_RANGE))

    @torch.no_grad()
    def reseed(self, cluster: int, z: Float[Tensor, " d"]) -> None:
        """Place a component at a code, with the weight and the spreads of an average one."""
        self.means[cluster] = z
        self.log_vars[cluster] = self.safe_log_vars.mean(dim=0)
        self.logits[cluster] = self.logits.mean()

    @property
    def saturated(self) -> bool:
        """Whether a log-variance has left the range in which it counts."""
        low, high = _LOG_VAR_RANGE
        return bool(((self.log_vars <= low) | (self.log_vars >= high)).any())

    @property
    def log_weights(self) -> Float[Tensor, " k"]:
        """Log of the weights, which sum to one."""
        return torch.log_softmax(self.logits, dim=0)

    @property
    def safe_log_vars(self) -> Float[Tensor, "k d"]:
        """Log-variances whose exponential stays finite."""
        return self.log_vars.clamp(*_LOG_VAR_RANGE)

    def log_joint(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Log of weight times density."""
        return log_joint(z, self.log_weights, self.means, self.safe_log_vars)

    @property
    def moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of every cluster."""
        return self.means.detach(), (0.5 * self.safe_log_vars.detach()).exp()

    def sample(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw one code from each of these clusters; the temperature multiplies the spread."""
        noise = temperature * torch.randn(len(clusters), self.means.shape[1], generator=generator)
        return self.means[clusters] + (0.5 * self.safe_log_vars[clusters]).exp() * noise


class CenterHead(AbstractGenerativeHead):
    """k-means as the limit that it is of a mixture: equal spheres, whose variance the inertia gives."""

    centers: Tensor
    log_var: Tensor
    counts: Tensor

    def __init__(self, k: int, d: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(k, d))
        self.register_buffer("log_var", torch.zeros(()))
        self.register_buffer("counts", torch.ones(k))

    def place(self, centers: Tensor, labels: Tensor, inertia: float) -> None:
        """Take what k-means found."""
        k, d = self.centers.shape
        self.centers.copy_(centers)
        self.log_var.fill_(math.log(max(inertia / (len(labels) * d), 1e-12)))
        self.counts.copy_(torch.bincount(labels, minlength=k))

    @property
    def weights(self) -> Float[Tensor, " k"]:
        """Share of every cluster."""
        return self.counts / self.counts.sum()

    def assign(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the probability of every cluster; the nearest centre has the largest."""
        return torch.softmax(log_normal(z, self.centers, self.log_var.expand_as(self.centers)), dim=1)

    def score(self, z: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Return minus the squared distance to the nearest centre."""
        return -torch.cdist(z, self.centers, compute_mode="donot_use_mm_for_euclid_dist").amin(1).square()

    @property
    def moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of every cluster."""
        return self.centers, (0.5 * self.log_var).exp().expand_as(self.centers)

    def sample(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw one code from each of these clusters; the temperature multiplies the spread."""
        noise = temperature * torch.randn(len(clusters), self.centers.shape[1], generator=generator)
        return self.centers[clusters] + (0.5 * self.log_var).exp() * noise


class MixtureHead(AbstractGenerativeHead):
    """A fitted Gaussian mixture with full covariances, kept as the Cholesky factors of covariance and precision."""

    log_weights: Tensor
    means: Tensor
    factors: Tensor
    precisions: Tensor

    def __init__(self, k: int, d: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.full((k,), -math.log(k)))
        self.register_buffer("means", torch.zeros(k, d))
        self.register_buffer("factors", torch.eye(d).repeat(k, 1, 1))
        self.register_buffer("precisions", torch.eye(d).repeat(k, 1, 1))

    def place(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Take a fitted mixture, in double precision."""
        factors = torch.linalg.cholesky(covariances)
        self.log_weights.copy_(weights.log())
        self.means.copy_(means)
        self.factors.copy_(factors)
        self.precisions.copy_(torch.linalg.inv(factors))

    @property
    def weights(self) -> Float[Tensor, " k"]:
        """Share of every cluster."""
        return self.log_weights.exp()

    def _log_joint(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        white = torch.einsum("kij,bkj->bki", self.precisions, z.unsqueeze(1) - self.means)
        log_det = self.precisions.diagonal(dim1=1, dim2=2).log().sum(1)
        return self.log_weights + log_det - 0.5 * (white.square() + LOG_2PI).sum(2)

    def assign(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the posterior of every component."""
        return torch.softmax(self._log_joint(z), dim=1)

    def score(self, z: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Return the log-density of codes."""
        return torch.logsumexp(self._log_joint(z), dim=1)

    @property
    def moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of every cluster."""
        return self.means, self.factors.square().sum(2).sqrt()

    def sample(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw one code from each of these clusters; the temperature multiplies the spread."""
        noise = temperature * torch.randn(len(clusters), self.means.shape[1], generator=generator)
        return self.means[clusters] + torch.einsum("nij,nj->ni", self.factors[clusters], noise)


class ExemplarHead(AbstractHead):
    """The out-of-sample rule of partitions without a formula: nearest exemplars decide.

    The nearest exemplar has the last word; the other near ones, weighted by a Gaussian of their distance, say how sure
    that is.
    """

    codes: Tensor
    labels: Tensor
    bandwidth: Tensor

    def __init__(self, k: int, d: int, exemplars: int, neighbors: int = 10) -> None:
        super().__init__()
        self.k, self.neighbors = k, min(neighbors, exemplars)
        self.register_buffer("codes", torch.zeros(exemplars, d))
        self.register_buffer("labels", torch.zeros(exemplars, dtype=torch.int64))
        self.register_buffer("bandwidth", torch.ones(()))

    def place(self, codes: Tensor, labels: Tensor) -> None:
        """Take exemplars and their clusters; the bandwidth is their mean distance to the last neighbour."""
        self.codes.copy_(codes)
        self.labels.copy_(labels)
        sample = self.codes[:: max(1, len(self.codes) // 1000)]
        distances = self._distances(sample).topk(self.neighbors, largest=False).values[:, -1]
        self.bandwidth.copy_(distances.mean().clamp(min=1e-12))

    def _distances(self, z: Tensor) -> Tensor:
        if torch.compiler.is_exporting():  # exported graphs have no such function; double precision makes up for it
            wide, codes = z.double(), self.codes.double()
            squares = wide.square().sum(1, keepdim=True) - 2 * wide @ codes.T + codes.square().sum(1)
            return squares.clamp(min=0).sqrt().to(z.dtype)
        # Differences, not inner products: an exemplar must be at distance zero from itself.
        return torch.cdist(z, self.codes, compute_mode="donot_use_mm_for_euclid_dist")

    def assign(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the weighted vote of near exemplars, at least half of it the nearest one's."""
        distances, index = self._distances(z).topk(self.neighbors, largest=False)
        weights = torch.softmax(-0.5 * (distances / self.bandwidth).square(), dim=1)
        chosen = torch.nn.functional.one_hot(self.labels[index], self.k)
        votes = (weights.unsqueeze(2) * chosen).sum(1)
        return 0.5 * (votes + chosen[:, 0])

    def score(self, z: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Return minus the mean squared distance to the near exemplars: a row is not alone in being near itself."""
        return -self._distances(z).topk(self.neighbors, largest=False).values.square().mean(1)
