"""Targets that depend on all rows: refreshed between epochs, constant within them, carried by checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepclust.data.batch import Batch
from deepclust.engine import Session
from deepclust.model import AbstractClusterModel
from deepclust.objectives.balanced import imbalance_of
from deepclust.params import ADDED, AbstractParameters, Auto, Count, NonNegativeFloat, PositiveFloat, ShareBelowOne


@dataclass(frozen=True, repr=False)
class Refresh(AbstractParameters):
    """When targets are made anew, and when clustering has arrived.

    Parameters
    ----------
    steps
        Between two refreshes; ``"auto"`` is one pass over the rows, between 30 and 140 as published, but no less than
        half a pass: a refresh looks at every row, and would take most of the time where rows are millions.
    tolerance
        Clustering ends when a smaller share of rows has changed its cluster between two refreshes.
    target_tolerance
        Or when the mean square of the targets' change is below this.
    drift
        Share of rows, for models that were held to a start at first. Clusters halfway between letting go and the end of
        the phase are remembered; where more than this share has another cluster later, the partition counts as one that
        will not settle: the model goes back to where it was let go, and is held for the rest. (Not in a method that
        expects shares of clusters, as long as they come nearer to these.) None lets it drift.
    """

    steps: Count | Auto = "auto"
    tolerance: ShareBelowOne = 1e-3
    target_tolerance: NonNegativeFloat = 0.0
    drift: PositiveFloat | None = field(default=None, metadata=ADDED)

    def resolved(self, n: int, batch_size: int) -> int:
        """Return the steps for so many rows."""
        if not isinstance(self.steps, str):
            return int(self.steps)
        in_pass = math.ceil(n / batch_size)
        return max(min(140, max(30, in_pass)), math.ceil(in_pass / 2))


class Held(NamedTuple):
    """Targets that stand for the first refreshes of a phase.

    Parameters
    ----------
    p : (n, k)
        Targets, a cluster for every row.
    refreshes
        For which they stand; 0 where a phase before led to them.
    of
        So many refreshes in all.
    prior : (k,) or None
        Expected shares of the clusters. A partition that comes nearer to them than these targets may move on.
    """

    p: Float[Tensor, "n k"]
    refreshes: int
    of: int
    prior: Float[Tensor, " k"] | None = None

    def is_less_balanced_than(self, labels: Int64[Tensor, " n"]) -> bool:
        """Return whether the sizes of these clusters are nearer to the expected ones than its own."""
        if self.prior is None:
            return False
        return imbalance_of(labels, self.prior) < imbalance_of(self.p.argmax(1), self.prior)


class Targets:
    """What a clustering phase is drawn to, and when it has arrived.

    Parameters
    ----------
    session
        The run.
    model
        Whose assignment of all rows the targets are made from, without noise.
    make
        Maps assignments ``(n, k)`` to targets ``(n, k)``.
    refresh
        When the phase ends.
    held
        What stands at first.

    Attributes
    ----------
    p : (n, k)
        Targets.
    labels : (n,)
        Clusters at the last refresh.
    """

    def __init__(
        self,
        session: Session,
        model: AbstractClusterModel,
        make: Callable[[Float[Tensor, "n k"]], Float[Tensor, "n k"]],
        refresh: Refresh,
        held: Held | None = None,
    ) -> None:
        self._session, self._model, self._make, self._rule = session, model, make, refresh
        self._held, self._refreshes = held, 0
        self._let_go: dict[str, Any] | None = None  # the model at that moment, while it may yet go back
        self._halfway: Int64[Tensor, " n"] | None = None  # clusters
        self._is_back = False
        self.p: Float[Tensor, "n k"] = torch.empty(0, 0)
        self.labels: Int64[Tensor, " n"] = torch.empty(0, dtype=torch.int64)

    def refresh(self) -> bool:
        """Make targets anew; return whether hardly a row has moved since the last time."""
        self._refreshes += 1
        if self._held is not None and (self._is_back or self._refreshes <= self._held.refreshes):
            self.p = self._held.p
            return False
        q = self._session.map(self._model.assign, self._model)
        labels = q.argmax(1)
        is_first = len(self.labels) == 0
        changed = 1.0 if is_first else float((labels != self.labels).double().mean())
        p = self._make(q)
        moved = 1.0 if is_first else float((p - self.p).square().mean())
        self.p, self.labels = p, labels
        if self._held is not None and self._rule.drift is not None and self._drifts(self._held, self._rule.drift):
            self.p = self._held.p
            return False
        arrived = not is_first and (changed < self._rule.tolerance or moved < self._rule.target_tolerance)
        if arrived:
            self._session.note("settled", changed=changed, targets_moved=moved)
        return arrived

    def _drifts(self, held: Held, limit: float) -> bool:
        """Remember what is needed to tell a partition that drifts, and go back where it does."""
        free, half = self._refreshes - held.refreshes, (held.of - held.refreshes) // 2
        if free == 1:
            self._let_go = {name: value.detach().cpu().clone() for name, value in self._model.state_dict().items()}
        if self._let_go is None:
            return False
        if free <= half:
            self._halfway = self.labels
            return False
        moved = 0.0 if self._halfway is None else float((self.labels != self._halfway).double().mean())
        if moved <= limit or held.is_less_balanced_than(self.labels):
            return False
        self._session.note("drifted", moved=moved, refresh=self._refreshes)
        self._model.load_state_dict(self._let_go)
        self._let_go, self._halfway, self._is_back = None, None, True
        return True

    def of(self, batch: Batch) -> Float[Tensor, "b k"]:
        """Return the targets of a step's rows."""
        return batch.take(self.p)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        apart = {"let_go": self._let_go, "halfway": self._halfway, "is_back": self._is_back}
        return {"p": self.p, "labels": self.labels, "refreshes": self._refreshes, **apart}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.p, self.labels, self._refreshes = state["p"], state["labels"], state["refreshes"]
        self._let_go, self._halfway = state.get("let_go"), state.get("halfway")
        self._is_back = state.get("is_back", False)
