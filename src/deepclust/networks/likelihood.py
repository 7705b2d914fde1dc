"""What a decoder's output means: the distribution of a row given its code."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError
from deepclust.networks.scaler import Scaling
from deepclust.objectives.reconstruction import bernoulli_nll, gaussian_nll
from deepclust.params import AbstractParameters, PositiveFloat


@dataclass(frozen=True, repr=False)
class Gaussian(AbstractParameters):
    """A Gaussian likelihood, on standardised features or on values scaled to [0, 1].

    Parameters
    ----------
    variance
        Variance of every feature given its code; the start value where it is learned. The released VaDE program's
        weight ``alpha`` on the plain squared error is a fixed variance of ``1 / (2 * alpha)``.
    learn
        Learn one variance per feature.
    floor
        Least variance that can be learned; without one, a feature that can be copied exactly takes all the weight.
    scope
        ``"feature"``: one variance a feature, the same for all rows. ``"row"``: the decoder gives mean and log-variance
        of every feature of every row (Jiang et al. 2017, eq. 2); ``variance`` and ``learn`` then do not count.
    bounded
        Scale all values to [0, 1] by their common range, and squash the decoder's output into it.
    unit
        Scale so, and leave the output linear.
    """

    variance: PositiveFloat = 1.0
    learn: bool = True
    floor: PositiveFloat = 1e-3
    scope: Literal["feature", "row"] = "feature"
    bounded: bool = False
    unit: bool = False


Likelihood = Literal["auto", "bernoulli"] | Gaussian


class AbstractLikelihood(nn.Module, ABC):
    """Turns a decoder's linear output into a distribution over rows."""

    outputs = 1

    def decoded(self, spec: Spec) -> Spec:
        """Say what the decoder of these rows must give."""
        return replace(spec, outputs=self.outputs)

    @abstractmethod
    def nll(self, output: Float[Tensor, "b *out"], x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the negative log-likelihood of rows, in nats."""

    @abstractmethod
    def mean(self, output: Float[Tensor, "b *out"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row."""


class BernoulliLikelihood(AbstractLikelihood):
    """For rows in [0, 1]; the decoder gives log-odds."""

    def nll(self, output: Float[Tensor, "b *shape"], x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the negative log-likelihood of rows, in nats."""
        return bernoulli_nll(output.float(), x)

    def mean(self, output: Float[Tensor, "b *shape"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row."""
        return torch.sigmoid(output)


class GaussianLikelihood(AbstractLikelihood):
    """For standardised rows; the decoder gives means, variances belong to features."""

    log_var: Tensor

    def __init__(self, spec: Spec, settings: Gaussian) -> None:
        super().__init__()
        self.floor = math.log(settings.floor)
        self.bounded = settings.bounded
        start = torch.full(spec.shape, math.log(settings.variance))
        if settings.learn:
            self.log_var = nn.Parameter(start)
        else:
            self.register_buffer("log_var", start)

    def nll(self, output: Float[Tensor, "b *shape"], x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the negative log-likelihood of rows, in nats."""
        return gaussian_nll(self.mean(output.float()), x, self.log_var.clamp(min=self.floor))

    def mean(self, output: Float[Tensor, "b *shape"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row."""
        return torch.sigmoid(output) if self.bounded else output


class RowGaussianLikelihood(AbstractLikelihood):
    """For standardised rows; the decoder gives mean and log-variance of every value."""

    outputs = 2

    def __init__(self, settings: Gaussian) -> None:
        super().__init__()
        self.floor = math.log(settings.floor)
        self.bounded = settings.bounded

    def nll(self, output: Float[Tensor, "b *out"], x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the negative log-likelihood of rows, in nats."""
        log_var = output.float().chunk(2, dim=1)[1]
        return gaussian_nll(self.mean(output.float()), x, log_var.clamp(self.floor, -self.floor))

    def mean(self, output: Float[Tensor, "b *out"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row."""
        mean = output.chunk(2, dim=1)[0]
        return torch.sigmoid(mean) if self.bounded else mean


def resolve_likelihood(likelihood: Likelihood, spec: Spec, owner: str) -> Literal["bernoulli"] | Gaussian:
    """Say what ``"auto"`` stands for: Bernoulli for images and for values in [0, 1], Gaussian for anything else."""
    if isinstance(likelihood, Gaussian):
        return likelihood
    unit = spec.low >= 0 and spec.high <= 1
    if likelihood == "bernoulli":
        if not spec.is_image and spec.low < 0:
            raise InvalidDataError(
                f"{owner} with likelihood='bernoulli' needs values >= 0 in flat rows; the lowest is {spec.low:g}. "
                "Use likelihood=Gaussian()."
            )
        return "bernoulli"
    return "bernoulli" if spec.is_image or unit else Gaussian()


def likelihood_scaling(likelihood: Literal["bernoulli"] | Gaussian) -> Scaling:
    """Return the scaling that a likelihood needs."""
    standard = isinstance(likelihood, Gaussian) and not (likelihood.bounded or likelihood.unit)
    return "standard" if standard else "unit"


def make_likelihood(likelihood: Literal["bernoulli"] | Gaussian, spec: Spec) -> AbstractLikelihood:
    """Make the module."""
    if not isinstance(likelihood, Gaussian):
        return BernoulliLikelihood()
    return RowGaussianLikelihood(likelihood) if likelihood.scope == "row" else GaussianLikelihood(spec, likelihood)
