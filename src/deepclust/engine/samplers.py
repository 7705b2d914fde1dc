"""Orders of rows for objectives that need certain rows together in a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Pairs:
    """A sampler: rows at random, each with a random other row of its own cluster, where there is one."""

    def __init__(self, labels: Int64[Tensor, " n"]) -> None:
        self.order = torch.argsort(labels, stable=True)
        sizes = torch.bincount(labels)
        self.first = torch.cumsum(sizes, 0) - sizes
        self.sizes, self.labels = sizes, labels
        self.place = torch.empty_like(self.order)
        self.place[self.order] = torch.arange(len(labels))

    def __call__(self, n: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the row numbers of each step, every row once."""
        half = max(1, batch_size // 2)
        for _ in range(steps):
            rows = torch.randperm(n, generator=generator)[:half]
            own = self.labels[rows]
            step = 1 + (torch.rand(len(rows), generator=generator) * (self.sizes[own] - 1)).long()
            mates = self.order[self.first[own] + (self.place[rows] - self.first[own] + step) % self.sizes[own]]
            yield torch.unique(torch.cat([rows, mates]))


class Within:
    """A sampler over some of the rows, by one that knows them by their place among these."""

    def __init__(self, rows: Int64[Tensor, " m"], sampler: Callable[..., Iterator[Tensor]]) -> None:
        self.rows, self.sampler = rows, sampler

    def __call__(self, n: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield row numbers of each step."""
        for place in self.sampler(len(self.rows), batch_size, steps, generator):
            yield self.rows[place]


class Triples:
    """A sampler: rows at random, a neighbour of each, and as many rows that are no neighbours."""

    def __init__(self, near: Int64[Tensor, "n j"]) -> None:
        self.near = near

    def __call__(self, n: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield rows, mates and others, one third each."""
        third = max(1, batch_size // 3)
        for _ in range(steps):
            rows = torch.randint(n, (third,), generator=generator)
            choice = torch.randint(self.near.shape[1], (third,), generator=generator)
            others = torch.randint(n, (third,), generator=generator)
            for _ in range(self.near.shape[1] + 1):  # as many rows are taken: this leaves them wherever there are more
                taken = (self.near[rows] == others.unsqueeze(1)).any(1) | (rows == others)
                others = torch.where(taken, (others + 1) % n, others)
            yield torch.cat([rows, self.near[rows, choice], others])


class Walks:
    """A sampler of the ends of random walks on a symmetric graph: where walks of a step begin, then where they end.

    Walks begin at rows drawn in proportion to their degree, so that their ends are distributed likewise; a walk of one
    step is an edge drawn in proportion to its weight.

    Parameters
    ----------
    row, column, weight
        The graph's edges, sorted by row.
    length
        Steps of a walk.
    """

    def __init__(
        self, row: Int64[Tensor, " e"], column: Int64[Tensor, " e"], weight: Float[Tensor, " e"], length: int = 1
    ) -> None:
        self.row, self.column, self.length = row, column, length
        self.cumulated = weight.double().cumsum(0)
        counts = torch.bincount(row)
        last = counts.cumsum(0) - 1
        self.above = self.cumulated[last]
        self.below = torch.cat([self.above.new_zeros(1), self.above[:-1]])

    def __call__(self, n: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield both ends of half as many walks as a batch has rows."""
        count = max(1, batch_size // 2)
        for _ in range(steps):
            place = torch.rand(count, generator=generator, dtype=torch.float64) * self.cumulated[-1]
            edge = self._edge(place)
            begin, end = self.row[edge], self.column[edge]
            for _ in range(self.length - 1):
                place = torch.rand(count, generator=generator, dtype=torch.float64)
                end = self.column[self._edge(torch.lerp(self.below[end], self.above[end], place))]
            yield torch.cat([begin, end])

    def _edge(self, place: Tensor) -> Tensor:
        return torch.searchsorted(self.cumulated, place, right=True).clamp(max=len(self.row) - 1)
