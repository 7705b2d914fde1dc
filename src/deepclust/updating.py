"""More rows for a fitted model: small steps from where it is, under the names that its clusters have."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import ks_2samp
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from deepclust import together
from deepclust.data.rows import Rows, Spec
from deepclust.engine import Schedule, Session, Trainer
from deepclust.engine.changes import UNCHANGED
from deepclust.engine.seeds import derive_seed, integer_seed, isolated_random_state
from deepclust.errors import DivergenceError, InvalidParameterError
from deepclust.model import AbstractClusterModel
from deepclust.networks.scaler import Scaler
from deepclust.provenance import fingerprint_rows
from deepclust.result import ClusterResult

_CAREFUL = 0.1  # learning rate of an update, relative to that of the clustering phase
_LEVEL = 0.01  # of the test for drift


@dataclass(frozen=True)
class Drift:
    """How a batch of rows differs from the rows of the call before, as the model saw both before it learned from this.

    Attributes
    ----------
    rows : int
        In the batch.
    shares : float
        Half the sum of the differences between clusters' shares: the share of rows that would have to change cluster.
    codes : float
        Largest Kolmogorov-Smirnov distance over the dimensions of the code, in [0, 1].
    chance : float
        What ``codes`` exceeds by chance in one batch of a hundred, if nothing has changed.
    certainty : float
        Mean probability of a row's cluster, minus that of the call before.
    """

    rows: int
    shares: float
    codes: float
    chance: float
    certainty: float

    @property
    def is_significant(self) -> bool:
        """Whether the codes differ by more than chance explains."""
        return self.codes > self.chance


def _can_update(estimator: Any) -> bool:
    return hasattr(estimator, "_update")


class UpdateMixin:
    """`partial_fit` for methods that supply ``_update(model, session, schedule)``."""

    schedule: Schedule
    trainer: Trainer
    random_state: Any
    model_: AbstractClusterModel
    scaler_: Scaler
    spec_: Spec
    result_: ClusterResult
    _update: Callable[[Any, Session, Schedule], None]
    _rows: Callable[..., Rows]

    @available_if(_can_update)
    def partial_fit(self, X: Any, y: Any = None, *, epochs: int = 1) -> Self:
        """Learn from more rows, starting from what is known; the first call is `fit`.

        Clusters keep their numbers and their names: those that an update has interchanged are put back by the matching
        that moves the fewest rows. Networks take ``epochs`` passes over the batch, at a tenth of the rate of the
        clustering phase; the scale of the rows stays that of the first call. What the model knows of former rows is in
        its parameters alone, so that many passes over few rows make it forget.

        Parameters
        ----------
        X
            Rows like those of the first call.
        y
            Ignored.
        epochs
            Passes over these rows.

        Returns
        -------
        self
            ``labels_`` and ``result_`` are of these rows; ``drift_`` says how they differ from those of the call
            before.
        """
        if not hasattr(self, "model_"):
            self.fit(X)  # type: ignore[attr-defined]
            return self
        if not isinstance(epochs, int) or epochs < 1:
            raise InvalidParameterError(f"'epochs' must be an int >= 1. Got {epochs!r}.")
        rows, model = self._rows(X, reset=False), copy.deepcopy(self.model_)
        rows = replace(rows, spec=replace(self.spec_, n=len(rows)))  # networks know the range of the first call's rows
        number = self.result_.provenance.get("updates", 0) + 1
        trainer = self.trainer(checkpoint_dir=None, cache_dir=None)
        with isolated_random_state(), together.lost_processes_named():
            seed = together.from_first(lambda: derive_seed(integer_seed(self.random_state), "update", number) % 2**31)
            session = trainer.start(rows, self.scaler_, seed, {"data": fingerprint_rows(rows)})
            before = _look(session, model)
            session.start_labels = before[0].argmax(1)
            careful = self.schedule(epochs=epochs, lr=_CAREFUL * self.schedule.lr, decay=None, warmup=0)
            if any(event["kind"] == UNCHANGED for event in self.result_.events):
                careful = careful(augment=None)
            self._update(model, session, careful)
            _keep_numbers(model, session.start_labels, _look(session, model)[0].argmax(1))
            proba, codes = _look(session, model)
        if not (torch.isfinite(proba).all() and torch.isfinite(codes).all()):
            raise DivergenceError(f"Update {number} ended with values that are not finite; the model is as before it.")
        former = self.result_
        self.drift_ = _drift(former, *before)
        self.model_ = model.to("cpu").eval()
        self.result_ = ClusterResult(
            labels=proba.argmax(1).numpy(),
            proba=proba.numpy(),
            embedding=codes.numpy(),
            start_labels=session.start_labels.numpy(),
            history=[*former.history, *({**line, "phase": f"update-{number}"} for line in session.history)],
            events=[*former.events, *session.events],
            provenance={**former.provenance, "updates": number},
        )
        self.labels_ = self.named_result().labels  # type: ignore[attr-defined]
        return self


def _look(session: Session, model: AbstractClusterModel) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = session.map(lambda x: (model.assign(x), model.embed(x)), model)
    return found


def _keep_numbers(model: AbstractClusterModel, before: Tensor, after: Tensor) -> None:
    """Give clusters their former numbers, by the matching that moves the fewest rows."""
    parts = model.by_cluster
    if not parts:
        return
    k = len(parts[0])
    table = torch.zeros(k, k, dtype=torch.float64)
    table.index_put_((before, after), torch.ones(len(before), dtype=torch.float64), accumulate=True)
    table += torch.eye(k) / (k + 1)  # clusters without rows stay where they are
    _, order = linear_sum_assignment(-table.numpy())
    with torch.no_grad():
        for part in parts:
            part.copy_(part[torch.from_numpy(order)].clone())


def _drift(former: ClusterResult, proba: Tensor, codes: Tensor) -> Drift:
    """Compare a batch with the rows of the call before, both as the same model sees them."""
    old, new = former.embedding, codes.numpy()
    n, m, d = len(old), len(new), new.shape[1]
    codes_apart = max(float(ks_2samp(old[:, i], new[:, i], method="asymp").statistic) for i in range(d))
    shares = [np.bincount(p.argmax(1), minlength=p.shape[1]) / len(p) for p in (former.proba, proba.numpy())]
    return Drift(
        rows=m,
        shares=float(0.5 * np.abs(shares[0] - shares[1]).sum()),
        codes=codes_apart,
        chance=float(np.sqrt(-0.5 * np.log(_LEVEL / (2 * d)) * (n + m) / (n * m))),
        certainty=float(proba.amax(1).mean()) - float(former.proba.max(axis=1).mean()),
    )
