"""Expected likelihoods without random numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.objectives.gaussian import reparameterise

_DIRECTIONS = 16  # at most, of the codes at which a row's expected likelihood is evaluated


def expected_nll(
    decode: Callable[[Tensor], Tensor],
    likelihood: AbstractLikelihood,
    x: Float[Tensor, "b *shape"],
    mean: Float[Tensor, "b d"],
    log_var: Float[Tensor, "b d"],
) -> Float[Tensor, " b"]:
    """Return the expectation of -log p(x|z) over a row's posterior: a cubature over fixed codes.

    A row always gets the same value, whatever other rows it comes with.
    """
    nll = torch.zeros(len(x), device=x.device, dtype=mean.dtype)
    points = cubature(mean.shape[1]).to(mean)
    for noise in points:
        z = reparameterise(mean, log_var, noise.expand_as(mean))
        nll = nll + likelihood.nll(decode(z), x) / len(points)
    return nll


def cubature(d: int) -> Float[Tensor, "points d"]:
    """Return points of equal weight for a standard normal expectation: both ends of orthogonal directions.

    On the sphere of radius sqrt(d), where the mass is; exact for polynomials of degree three when all d directions are
    taken.
    """
    rotation, _ = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    half = (d**0.5 * rotation[:_DIRECTIONS]).float()
    return torch.cat([half, -half])
