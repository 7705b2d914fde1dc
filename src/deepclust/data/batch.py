"""What an objective sees of one step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64, Shaped
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
    """Rows of one step, scaled for the network, with their row numbers (whole-data targets need them).

    ``numbers`` are the row numbers once more, on the CPU, so that nothing waits for an accelerator to read them.
    """

    x: Float[Tensor, "b *shape"]
    index: Int64[Tensor, " b"]
    progress: Progress
    numbers: Int64[Tensor, " b"] | None = None

    def take(self, table: Shaped[Tensor, "n *values"]) -> Shaped[Tensor, "b *values"]:
        """Return these rows' part of a tensor with an entry for every row of the data; it comes to where ``x`` is."""
        if table.device == self.index.device:
            return table[self.index]
        return send(table[self.index.cpu() if self.numbers is None else self.numbers], self.x.device)

    @property
    def settled(self) -> Batch:
        """The same rows as if training had long passed whatever its first part does differently."""
        return replace(self, progress=_LATE)


def send(values: Tensor, device: torch.device | str) -> Tensor:
    """Return values on a device; a copy to CUDA does not wait for what is under way there."""
    is_far = values.device.type == "cpu" and torch.device(device).type == "cuda"
    return (values.pin_memory() if is_far else values).to(device, non_blocking=is_far)


_LATE = Progress(epoch=1_000_000, epochs=1_000_000, step=1, steps=1)
