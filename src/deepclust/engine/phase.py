"""A phase is a value: what is trained, by which objective, for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepclust.data.batch import Batch
from deepclust.engine.schedule import Schedule
from deepclust.errors import DeepclustError

Objective = Callable[..., Mapping[str, Tensor]]
Sampler = Callable[[int, int, int, torch.Generator], Iterator[Tensor]]


@dataclass(frozen=True)
class Group:
    """Parameters that train at a rate of their own: ``rate`` times the schedule's."""

    trains: nn.Module | nn.Parameter
    rate: float = 1.0


@dataclass(frozen=True)
class Phase:
    """One stage of training.

    Parameters
    ----------
    name
        Unique within a recipe; it keys the history, the checkpoint and the random streams.
    model
        What the objective is given.
    objective
        ``objective(model, batch) -> {"term": scalar}``; the loss is the sum of the terms, so that what is logged adds
        up to what is optimised.
    schedule
        How long and how fast.
    trains
        The modules and parameters that change; all others are frozen for the phase.
    before_epoch
        Called before every epoch, to refresh what depends on all rows; returning True ends the phase.
    after_step
        Called after every step with the batch.
    sampler
        Yields the row numbers of each step: ``sampler(n, batch_size, steps, generator)``.
    until
        Share of the trainer's time limit at which this phase gives way to the next.
    shared
        Names the objective of a phase whose outcome depends on nothing but that, the modules it trains, data, schedule
        and seed; runs with a common ``cache_dir`` then train it once.
    clusters
        Whether the model's `assign` tells clusters throughout, so that the engine may look whether they are well.
    reconstruct
        What the phase learns to be the identity, from scaled rows to scaled rows; the engine then looks whether it
        does anything.
    pretrains
        Whether it sees the rows that were given for pretraining, where some were.
    """

    name: str
    model: nn.Module
    objective: Objective
    schedule: Schedule
    trains: Sequence[nn.Module | nn.Parameter | Group]
    before_epoch: Callable[[], bool | None] | None = None
    after_step: Callable[[Batch], None] | None = None
    sampler: Sampler | None = None
    until: float = 1.0
    shared: str | None = None
    clusters: bool = False
    reconstruct: Callable[[Tensor], Tensor] | None = None
    pretrains: bool = False

    def groups(self) -> list[dict[str, object]]:
        """Return optimiser groups; every parameter belongs to exactly one."""
        seen: set[int] = set()
        groups: list[dict[str, object]] = []
        for item in self.trains:
            group = item if isinstance(item, Group) else Group(item)
            what = group.trains
            parameters = list(what.parameters()) if isinstance(what, nn.Module) else [what]
            fresh = [p for p in parameters if id(p) not in seen]
            seen.update(map(id, fresh))
            if fresh:
                groups.append({"params": fresh, "rate": group.rate})
        if not groups:
            raise DeepclustError(f"Phase {self.name!r} trains no parameter; give it some in 'trains'.")
        return groups


def permutation(n: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield row numbers in random order, in batches whose sizes differ by one row at most.

    When ``steps`` asks for more than a pass, further permutations follow.
    """
    batches = -(-n // batch_size)
    left = steps
    while left > 0:
        yield from torch.randperm(n, generator=generator).tensor_split(batches)[:left]
        left -= batches
