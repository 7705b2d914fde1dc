"""Partitions of very many points: of a sample, to which the others are joined."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

MOST = 100_000  # points that are partitioned as a whole
SAMPLE = 50_000  # points that are partitioned where there are more
_BLOCK = 100_000


class Sampled(NamedTuple):
    """A partition, and of how many points it was made; None of all."""

    labels: Int64[Tensor, " n"]
    rows: int | None


def sample_of(n: int, seed: int) -> Int64[Tensor, " m"] | None:
    """Return the rows that stand for all in closed-form work, in order; None where rows are few enough to be all."""
    if n <= MOST:
        return None
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:SAMPLE].sort().values


def some_of(points: Float[Tensor, "n d"], seed: int) -> Float[Tensor, "m d"]:
    """Return the points of `sample_of`, or all where they are few enough."""
    chosen = sample_of(len(points), seed)
    return points if chosen is None else points[chosen]


def by_sample(
    points: Float[Tensor, "n d"], find: Callable[[Float[Tensor, "m d"]], Int64[Tensor, " m"]], *, seed: int
) -> Sampled:
    """Partition points; where they are more than ``MOST``, a sample of them, whose nearest decides for every other.

    Parameters
    ----------
    points
        Of all rows.
    find
        Partitions points.
    seed
        Of the sample.
    """
    n = len(points)
    chosen = sample_of(n, seed)
    if chosen is None:
        return Sampled(find(points), None)
    some = points[chosen]
    found = find(some)
    labels = torch.empty(n, dtype=torch.int64)
    near = NearestNeighbors(n_neighbors=1).fit(some.float().numpy())
    for start in range(0, n, _BLOCK):
        index = near.kneighbors(points[start : start + _BLOCK].float().numpy(), return_distance=False)[:, 0]
        labels[start : start + _BLOCK] = found[torch.from_numpy(index)]
    labels[chosen] = found
    return Sampled(labels, len(chosen))
