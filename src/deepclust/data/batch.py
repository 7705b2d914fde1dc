"""What an objective sees of one step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """Where training is inside a phase."""

    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def share(self) -> float:
        """Share of the phase's steps that are done, in [0, 1)."""
        return self.step / max(1, self.steps)


@dataclass(frozen=True)
class Batch:
    """Rows of one step, scaled for the network, with their row numbers (whole-data targets need them)."""

    x: Float[Tensor, "b *shape"]
    index: Int64[Tensor, " b"]
    progress: Progress

    @property
    def settled(self) -> Batch:
        """The same rows as if training had long passed whatever its first part does differently."""
        return replace(self, progress=_LATE)


_LATE = Progress(epoch=1_000_000, epochs=1_000_000, step=1, steps=1)
