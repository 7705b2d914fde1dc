"""What an objective sees of one step."""

from __future__ import annotations

from dataclasses import dataclass

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
