"""Targets that depend on all rows: refreshed between epochs, constant within them, carried by checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepclust.engine import Session
from deepclust.model import AbstractClusterModel


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
    tolerance
        The phase ends when the share of rows that have changed their cluster since the last refresh is below this.

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
        tolerance: float,
    ) -> None:
        self._session, self._model, self._make, self._tolerance = session, model, make, tolerance
        self.p: Float[Tensor, "n k"] = torch.empty(0, 0)
        self.labels: Int64[Tensor, " n"] = torch.empty(0, dtype=torch.int64)

    def refresh(self) -> bool:
        """Make targets anew; return whether hardly a row has moved since the last time."""
        q = self._session.map(self._model.assign, self._model)
        labels = q.argmax(1)
        is_first = len(self.labels) == 0
        changed = 1.0 if is_first else float((labels != self.labels).double().mean())
        self.p, self.labels = self._make(q), labels
        arrived = not is_first and changed < self._tolerance
        if arrived:
            self._session.note("settled", changed=changed)
        return arrived

    def of(self, index: Int64[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Return the targets of these rows."""
        return self.p[index.cpu()].to(index.device)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"p": self.p, "labels": self.labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.p, self.labels = state["p"], state["labels"]
