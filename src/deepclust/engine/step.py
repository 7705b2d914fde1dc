"""Parts of a step: model and objective as one module, sums of terms over an epoch, what may change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from deepclust.data.batch import Batch, Progress
from deepclust.engine.phase import Phase


class ObjectiveStep(nn.Module):
    """Model and objective as one module, so that autocast and distribution see a single forward pass."""

    def __init__(self, phase: Phase) -> None:
        super().__init__()
        self.model = phase.model
        self.objective = phase.objective
        self.progress = Progress(0, 1, 0, 1)
        self.numbers: Tensor | None = None

    def forward(self, x: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Return the objective's terms."""
        return dict(self.objective(self.model, Batch(x, index, self.progress, self.numbers)))


def add_terms(totals: dict[str, Tensor] | None, terms: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Sum terms over the rows of an epoch; an objective has the same terms throughout a phase.

    On CUDA the sums stay there, so that a step does not wait for the one before.
    """
    fresh = {name: value.detach() for name, value in terms.items()}
    fresh = {name: (value if value.is_cuda else value.cpu()).double() * rows for name, value in fresh.items()}
    fresh["$rows"] = torch.tensor(float(rows), dtype=torch.float64)
    return fresh if totals is None else {name: totals[name] + value for name, value in fresh.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser its state back, each part laid out in memory as its parameter is.

    A checkpoint keeps values and not their layout, fused steps go through memory as it lies, and convolutions may have
    their channels last.
    """
    optimizer.load_state_dict(state)
    for parameter, held in optimizer.state.items():
        for name, value in held.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                held[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


@contextmanager
def frozen_but(model: nn.Module, groups: list[dict[str, Any]]) -> Iterator[None]:
    """Let only the parameters of these groups require gradients; put all back as it was."""
    trained = {id(p) for group in groups for p in group["params"]}
    before = [(p, p.requires_grad) for p in model.parameters()]
    training = model.training
    for p, _ in before:
        p.requires_grad_(id(p) in trained)
    model.train()
    try:
        yield
    finally:
        for p, required in before:
            p.requires_grad_(required)
            p.grad = None
        model.train(training)
