"""How long and how fast a phase trains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from deepclust.data.augment import Affine
from deepclust.data.rows import Spec
from deepclust.engine.healing import Healing
from deepclust.errors import InvalidParameterError
from deepclust.params import (
    ADDED,
    AbstractParameters,
    Auto,
    Count,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    Share,
    ShareBelowOne,
)


@dataclass(frozen=True, repr=False)
class Budget(AbstractParameters):
    """A number of epochs that follows from the number of rows.

    A network learns by steps, not by epochs: 100 passes over 1,797 rows are 800 steps and starve it, 100 passes over
    ten million rows are more than it needs.

    Parameters
    ----------
    passes
        Passes over the data where neither bound applies.
    least_steps, most_steps
        Bounds on the number of steps of the phase; at least one pass is always made.
    """

    passes: Count = 100
    least_steps: Count = 2_000
    most_steps: Count = 30_000

    def epochs(self, steps_per_epoch: int) -> int:
        """Return how many epochs of this many steps fit the budget."""
        steps = min(max(self.passes * steps_per_epoch, self.least_steps), self.most_steps)
        return max(1, round(steps / steps_per_epoch))


@dataclass(frozen=True, repr=False)
class Decay(AbstractParameters):
    """Multiply the learning rate by ``factor`` at the start of every ``every``-th epoch, down to ``floor``."""

    factor: Share = 0.9
    every: Count = 10
    floor: NonNegativeFloat = 0.0

    def rate(self, lr: float, epoch: int, step: int, steps: int) -> float:
        """Return the rate in an epoch (counted from 0)."""
        return max(min(self.floor, lr), lr * self.factor ** (epoch // self.every))


@dataclass(frozen=True, repr=False)
class Cosine(AbstractParameters):
    """Let the learning rate fall along half a cosine to ``floor`` times its start."""

    floor: Share = 0.01

    def rate(self, lr: float, epoch: int, step: int, steps: int) -> float:
        """Return the rate at a step of the phase."""
        share = step / max(1, steps)
        return lr * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share)))


@dataclass(frozen=True, repr=False)
class Inverse(AbstractParameters):
    """Let the learning rate fall as a power of the steps made: ``lr (1 + gamma step) ** -power``."""

    gamma: PositiveFloat = 1e-4
    power: PositiveFloat = 0.75

    def rate(self, lr: float, epoch: int, step: int, steps: int) -> float:
        """Return the rate at a step of the phase (counted from 0)."""
        return lr * (1 + self.gamma * step) ** -self.power


@dataclass(frozen=True, repr=False)
class Schedule(AbstractParameters):
    """How long and how fast a phase trains.

    Parameters
    ----------
    epochs
        Epochs, or a `Budget` that derives them from the number of rows.
    lr
        Learning rate at the start.
    optimizer
        ``"adam"``, ``"adamw"`` or ``"sgd"``.
    batch_size
        Rows a step; None takes the trainer's.
    steps
        Steps in an epoch; None makes an epoch one pass over the data.
    decay
        How the rate falls: `Decay` in stairs, `Cosine`, `Inverse`, or None.
    warmup
        Steps over which the rate rises linearly from 0 at the start of the phase.
    clip_norm
        Largest norm of the gradient; None leaves it.
    weight_decay, momentum, eps
        Of the optimiser; ``momentum`` is SGD's, ``eps`` Adam's.
    augment
        Images are changed so before every step of the phase; ``"auto"`` is ``Affine(careful=True)``. Whole-data
        inference sees rows unchanged.
    healing
        What is done when training goes wrong; None fails at the first value that is not finite. Presets of papers have
        none.
    """

    epochs: Count | Budget = Budget()
    lr: PositiveFloat = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    batch_size: Count | None = None
    steps: Count | None = None
    decay: Decay | Cosine | Inverse | None = None
    warmup: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = None
    weight_decay: NonNegativeFloat = 0.0
    momentum: ShareBelowOne = 0.9
    eps: PositiveFloat = 1e-8
    augment: Affine | Auto | None = field(default=None, metadata=ADDED)
    healing: Healing | None = field(default=Healing(), metadata=ADDED)

    def steps_per_epoch(self, n: int, batch_size: int) -> int:
        """Return the steps of one epoch over ``n`` rows."""
        return self.steps or math.ceil(n / batch_size)

    def total_epochs(self, steps_per_epoch: int) -> int:
        """Return how many epochs the phase has."""
        return self.epochs if isinstance(self.epochs, int) else self.epochs.epochs(steps_per_epoch)

    def change(self, spec: Spec) -> Affine | None:
        """Return what changes rows of this kind.

        Raises
        ------
        InvalidParameterError
            Where it changes images, and rows are flat.
        """
        change = Affine(careful=True) if isinstance(self.augment, str) else self.augment
        if change is None or spec.is_image:
            return change
        if not change.careful:
            raise InvalidParameterError(
                f"The 'augment' parameter of a schedule changes images, and X has flat rows of {spec.size} values. "
                "Reshape X to (n, h, w), or leave it None."
            )
        return None

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Return the learning rate at a step, both counted from 0 over the phase."""
        lr = self.lr if self.decay is None else self.decay.rate(self.lr, epoch, step, steps)
        return lr * min(1.0, (step + 1) / self.warmup) if self.warmup else lr

    def make_optimizer(self, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return a fresh optimiser over parameter groups."""
        groups = list(groups)
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True
            )
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(groups, lr=self.lr, eps=self.eps, weight_decay=self.weight_decay, fused=True)
