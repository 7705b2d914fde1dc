"""What the engine does when training goes wrong: it goes back, slows down, gives empty clusters a place, or gives up.

Everything it does derives from the state of the run, so that a resumed run heals exactly as the uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepclust.engine.inference import map_rows
from deepclust.engine.seeds import derive_seed
from deepclust.errors import DivergenceError
from deepclust.model import AbstractClusterModel
from deepclust.params import AbstractParameters, NonNegativeInt, PositiveFloat, PositiveShare, Share
from deepclust.partition import kmeans

if TYPE_CHECKING:
    from deepclust.engine.phase import Phase
    from deepclust.engine.session import Session

_LOOKS = 20  # at clusters, in a phase
_SAMPLE = 4096  # rows that a look is at
_EXPECTED = 10  # rows in the sample without which a cluster's absence says nothing
_STILL = 1e-3  # spread of reconstructions, relative to that of rows, below which they are one and the same


@dataclass(frozen=True, repr=False)
class Healing(AbstractParameters):
    """What is done when training goes wrong. Every step of it is in ``result_.events``.

    Parameters
    ----------
    returns
        How often a phase goes back to its last good epoch, at a lower rate each time, before it gives up.
    slowdown
        Factor of the learning rate at each return.
    explosion
        A loss this many times the largest of the phase so far, or one where that is less, counts as divergence, as a
        value that is not finite does.
    dominance
        Share of the rows which one cluster may reach, where the start gave none of them half of it. Beyond, the phase
        goes back twice; then the result stands, with an event that says so.
    reseed
        Whether a cluster that the start had filled and that lost all its rows is placed anew, once in a phase, on
        half of the largest one. Models say how, by their method ``reseed``; others are left as they are.
    """

    returns: NonNegativeInt = 5
    slowdown: PositiveShare = 0.5
    explosion: PositiveFloat = 1e3
    dominance: Share = 0.9
    reseed: bool = True


class Trouble(NamedTuple):
    """What went wrong, in words that fit after "diverged at epoch 3: "."""

    kind: str
    epoch: int
    words: str


class Guard:
    """Watches one phase.

    Parameters
    ----------
    session, phase
        The run and its phase; ``name`` is the phase's in the history.
    epochs
        Of the phase.
    snapshot, restore
        Return the whole state that training changes, and put it back.

    Attributes
    ----------
    rate : float
        Factor of the learning rate.
    """

    def __init__(
        self,
        session: Session,
        phase: Phase,
        name: str,
        epochs: int,
        snapshot: Callable[[], Any],
        restore: Callable[[Any], None],
    ) -> None:
        self.rate = 1.0
        self._session, self._phase, self._name, self._epochs = session, phase, name, epochs
        self._snapshot, self._restore = snapshot, restore
        self._rule: Healing | None = phase.schedule.healing
        self._returns: dict[str, int] = {}
        self._largest = 0.0
        self._reseeded: list[int] = []
        self._complaints: list[str] = []
        self._mark: dict[str, Any] | None = None
        self._every = max(1, epochs // _LOOKS)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must carry."""
        names = ("rate", "_returns", "_largest", "_reseeded", "_complaints", "_mark")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        for name, value in state.items():
            setattr(self, name, value)

    def mark(self, epoch: int) -> None:
        """Before the first step of an epoch: keep the state, now and then."""
        if self._rule is not None and (self._mark is None or epoch % self._every == 0):
            self._mark = {"epoch": epoch, "state": self._snapshot(), "largest": self._largest}

    def not_finite(self, terms: dict[str, Tensor], epoch: int) -> Trouble | None:
        """Look at a step's terms."""
        for term, value in terms.items():
            if not torch.isfinite(value):
                return Trouble("diverged", epoch, f"term {term!r} is {float(value.detach())}")
        return None

    def examine(self, epoch: int, loss: float) -> Trouble | None:
        """Look at an epoch that has ended; place empty clusters anew."""
        for name, value in self._phase.model.named_parameters():
            if not torch.isfinite(value).all():
                return Trouble("diverged", epoch, f"parameter {name!r} is not finite")
        if self._rule is None:
            return None
        before, self._largest = self._largest, max(self._largest, abs(loss))
        if before > 0 and abs(loss) > self._rule.explosion * max(before, 1.0):
            return Trouble("diverged", epoch, f"the loss is {loss:.3g} and was {before:.3g} at most")
        return (self._blank(epoch) or self._clusters(epoch)) if (epoch + 1) % self._every == 0 else None

    def go_back(self, trouble: Trouble) -> int:
        """Return to the last mark at a lower rate, and return its epoch.

        Raises
        ------
        DivergenceError
            Where that has been done as often as allowed, or not at all is.
        """
        rule, mark, phase = self._rule, self._mark, self._phase
        done = self._returns.get(trouble.kind, 0)
        if rule is None or mark is None or done >= rule.returns:
            so_far = f" {done} returns to an earlier epoch at ever lower rates did not help." if done else ""
            raise DivergenceError(
                f"Phase {phase.name!r} diverged at epoch {trouble.epoch}: {trouble.words}.{so_far} Lower the phase's "
                f"learning rate (now {phase.schedule.lr * self.rate:g}), set its clip_norm, or check the scale of the "
                "data."
            )
        self._restore(mark["state"])
        epoch: int = mark["epoch"]
        self._largest = mark["largest"]
        self._returns = {**self._returns, trouble.kind: done + 1}
        self.rate *= rule.slowdown
        history = self._session.history
        history[:] = [line for line in history if line["phase"] != self._name or line["epoch"] < epoch]
        self._note(trouble.kind, trouble.epoch, what=trouble.words, back_to=epoch, rate=self.rate)
        return epoch

    def end_early(self, epoch: int) -> None:
        """Look once more where a time limit ends the phase between two looks; what went wrong is undone.

        Empty clusters stay so: one that is placed anew needs training that no longer comes.
        """
        trouble = self._clusters(epoch, reseed=False)
        if trouble is not None:
            self.go_back(trouble)

    def _note(self, kind: str, epoch: int, **details: Any) -> None:
        self._session.note(kind, phase=self._name, epoch=epoch, **details)

    def _tell_once(self, kind: str, epoch: int, words: str) -> None:
        if kind + words not in self._complaints:
            self._complaints = [*self._complaints, kind + words]
            self._note(kind, epoch, what=words)

    def _blank(self, epoch: int) -> Trouble | None:
        """Look at a sample of rows: is every one reconstructed as the same? A saturated output never learns again."""
        fn, session, rule = self._phase.reconstruct, self._session, self._rule
        if fn is None or rule is None:
            return None
        chosen = torch.from_numpy(_sample(len(session.rows), session.first_seed)[::16])
        some = session.rows.take(chosen)
        x, x_hat = map_rows(lambda x: (x, fn(x)), some, session.scaler, self._phase.model, device=session.device)
        spread, own = (float(rows.std(0, correction=0).amax()) for rows in (x_hat, x))
        if not spread < _STILL * own:
            return None
        words = "every row is reconstructed as the same one"
        if self._returns.get("nothing is reconstructed", 0) < min(3, rule.returns):
            return Trouble("nothing is reconstructed", epoch, words)
        self._tell_once("nothing is reconstructed", epoch, words)
        return None

    def _clusters(self, epoch: int, *, reseed: bool = True) -> Trouble | None:
        """Look at a sample of rows: does one cluster swallow the others, has one lost all its rows?"""
        session, model, rule = self._session, self._phase.model, self._rule
        if rule is None or not isinstance(model, AbstractClusterModel):
            return None
        for words in model.complaints():
            self._tell_once("unhealthy", epoch, words)
        start = session.start_labels
        if start is None or not self._phase.clusters:
            return None
        chosen = torch.from_numpy(_sample(len(session.rows), session.first_seed))
        proba, codes = map_rows(
            lambda x: (model.assign(x), model.embed(x)),
            session.rows.take(chosen),
            session.scaler,
            model,
            device=session.device,
        )
        if not torch.isfinite(proba).all():
            return Trouble("diverged", epoch, "probabilities of clusters are not finite")
        k = proba.shape[1]
        labels, began = proba.argmax(1), start[chosen]
        if int(began.max()) >= k:  # it starts from more clusters than it ends with
            return None
        now, then = (torch.bincount(c, minlength=k).double() / len(chosen) for c in (labels, began[began >= 0]))
        if k > 1 and float(now.max()) > rule.dominance and float(then.max()) < 0.5 * rule.dominance:
            words = f"cluster {int(now.argmax())} has {100 * float(now.max()):.0f} % of the rows"
            if self._returns.get("one cluster dominates", 0) < min(2, rule.returns):
                return Trouble("one cluster dominates", epoch, words)
            self._tell_once("one cluster dominates", epoch, words)
            return None
        if reseed and rule.reseed and epoch + 1 < 0.8 * self._epochs:
            lost = (now[: len(then)] == 0) & (then * len(chosen) >= _EXPECTED)
            for cluster in torch.nonzero(lost).flatten().tolist():
                self._place_anew(cluster, labels, codes, epoch)
        return None

    def _place_anew(self, cluster: int, labels: Tensor, codes: Tensor, epoch: int) -> None:
        model = self._phase.model
        if cluster in self._reseeded or not isinstance(model, AbstractClusterModel):
            return
        largest = int(torch.bincount(labels).argmax())
        inside = codes[labels == largest]
        if (inside == inside[0]).all():
            return
        seed = derive_seed(self._session.seed, self._name, epoch, cluster) % 2**31
        halves = kmeans(inside, 2, seed=seed, n_init=1)
        z = halves.centers[int(torch.bincount(halves.labels, minlength=2).argmin())]
        if model.reseed(cluster, z.to(self._session.device)):
            self._reseeded = [*self._reseeded, cluster]
            self._note("empty cluster placed anew", epoch, cluster=cluster, beside=largest)


def _sample(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.sort(np.random.default_rng(derive_seed(seed, "look")).permutation(n)[:_SAMPLE])
