"""Affinities of the points of a batch, differentiable, with every convention that published programs have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deepclust.errors import InvalidDataError
from deepclust.params import AbstractParameters, Count, PositiveFloat


@dataclass(frozen=True, repr=False)
class Affinity(AbstractParameters):
    r"""A Gaussian kernel on nearest neighbours, :math:`\exp(-d_{ij}^2 / c \sigma^2)`, averaged with its transpose.

    Parameters
    ----------
    scope
        ``"data"``: the graph of all rows, whose edges are drawn in training; ``"batch"``: that of each batch, as
        published, in which a row's neighbours are only those that happen to be drawn with it.
    neighbors
        Neighbours that keep their affinity; None keeps all points of a batch.
    counts_self
        The nearest of them is the point itself, as both programs of SpectralNet have it.
    scale
        :math:`\sigma`: ``"median"`` of the distances to the ``scale_neighbor``-th neighbour, one for all and fixed for
        a run; ``"local"``, the median of each point's own neighbour distances, which counts for column j; or a number.
    scale_neighbor
        Which neighbour; counted as ``neighbors`` is.
    walk
        Steps of the random walks on the graph of all rows whose ends a step of training draws near. Longer ones have
        the same eigenvectors, and larger differences between eigenvalues, which a network learns faster.
    factor
        :math:`c`: 2, or 1 as the PyTorch program has it.
    """

    scope: Literal["data", "batch"] = "data"
    neighbors: Count | None = 30
    counts_self: bool = False
    scale: Literal["median", "local"] | PositiveFloat = "median"
    scale_neighbor: Count = 15
    factor: PositiveFloat = 2.0
    walk: Count = 16


def median_scale(distances: Float[Tensor, "m m"], rule: Affinity) -> float:
    """Return the median distance of points to one of their neighbours.

    Raises
    ------
    InvalidDataError
        Where that is zero.
    """
    place = rule.scale_neighbor - 1 if rule.counts_self else rule.scale_neighbor
    near = distances.detach().sort(dim=1).values
    scale = float(near[:, min(place, near.shape[1] - 1)].median())
    if scale <= 0:
        raise InvalidDataError(
            f"The scale of the affinity is zero: the median distance to neighbour {rule.scale_neighbor} "
            f"(counting the point itself: {rule.counts_self}). Raise 'scale_neighbor', or drop duplicate rows."
        )
    return scale


def batch_affinity(
    z: Float[Tensor, "m d"], rule: Affinity, scale: float | None = None, *, loops: bool = True
) -> Float[Tensor, "m m"]:
    """Return the symmetric affinity of a batch, with gradients to its points.

    Parameters
    ----------
    z
        Points; distances are taken in double precision, so that equal points are at distance zero.
    rule
        The convention.
    scale
        Kept from another batch; None measures it on this one where the rule asks for a median.
    loops
        Keep the affinity of a point to itself, which is one.
    """
    square = _squared_distances(z.double())
    near = square.detach().clone()
    near.fill_diagonal_(-1.0)  # the point itself comes first, whatever duplicates it has
    count = len(z) if rule.neighbors is None else rule.neighbors + (not rule.counts_self)
    count = min(count, len(z))
    index = near.topk(count, dim=1, largest=False).indices
    keep = torch.zeros_like(near, dtype=torch.bool).scatter_(1, index, value=True)
    sigma: Tensor | float
    if rule.scale == "local":
        sigma = square.detach().gather(1, index).clamp(min=0).sqrt().median(dim=1).values.clamp(min=1e-12)
    elif rule.scale == "median":
        sigma = median_scale(square.detach().clamp(min=0).sqrt(), rule) if scale is None else scale
    else:
        sigma = rule.scale
    kernel = torch.exp(-square / (rule.factor * sigma**2))
    kernel = torch.where(keep, kernel, 0.0)
    affinity = (kernel + kernel.T) / 2
    return affinity if loops else affinity - torch.diag(affinity.diagonal())


def _squared_distances(z: Tensor) -> Tensor:
    square = z.square().sum(1)
    distance = (square.unsqueeze(1) + square.unsqueeze(0) - 2 * z @ z.T).clamp(min=0)
    return distance * (1 - torch.eye(len(z), dtype=z.dtype, device=z.device))
