"""A label-free start for models that could begin anywhere: a partition of an auto-encoder's codes, held for a while."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.data.batch import Batch
from deepclust.data.rows import value_range
from deepclust.engine import Cosine, Schedule, Session
from deepclust.graph import mutual_share, suited_neighbors
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.params import AbstractParameters, NonNegativeFloat, Share
from deepclust.partition import Partition, PrincipalView, Start, by_sample, principal_view, side_by_side, start_labels
from deepclust.pretraining import Stacked, pretrain

_PRETRAIN = Schedule(decay=Cosine())
_MOST_ROWS, _MOST_VALUES = 20_000, 20_000_000  # of the sample that principal components are fitted on
_MOST_COMPARED = 5_000  # of its rows, whose neighbours tell which view is the better


class Placeable(Protocol):
    """A model whose components a partition of codes can place."""

    likelihood: AbstractLikelihood

    def start_at(self, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], noise: float) -> None:
        """Place the components, with posteriors of this relative spread."""


def find_start(
    session: Session,
    model: nn.Module,
    codes: Float[Tensor, "n d"],
    k: int,
    start: Start,
    prior: Float[Tensor, " k"] | None = None,
) -> Int64[Tensor, " n"]:
    """Partition codes once a run; the session remembers it as what clustering started from."""
    found = session.once("start", lambda: {"labels": find_partition(session, model, codes, k, start, prior)})
    labels: Int64[Tensor, " n"] = found["labels"]
    session.start_labels = labels
    return labels


def find_partition(
    session: Session,
    model: nn.Module,
    codes: Float[Tensor, "n d"],
    k: int,
    start: Start,
    prior: Float[Tensor, " k"] | None = None,
) -> Int64[Tensor, " n"]:
    """Partition codes, beside the rows themselves where the start's name says so; `start_labels` says the rest."""
    kind, _, beside = start.partition("+")
    if beside:
        view = _view(session, k)
        codes = side_by_side(codes, session.map(view.coordinates, model))
    find = partial(start_labels, k=k, start=cast("Partition", kind), seed=session.seed, prior=prior)
    found = by_sample(codes, find, seed=session.seed)
    if found.rows is not None:
        session.note("partition of a sample", rows=found.rows)
    return found.labels


def _view(session: Session, k: int) -> PrincipalView:
    """Return rows as seen from their mean, or images from black where that makes more neighbours mutual."""
    sample, spec, components = _sample(session), session.rows.spec, max(50, 2 * k)  # k means span k - 1 dimensions
    view = principal_view(sample, seed=session.seed, components=components)
    if not spec.is_image:
        return view
    black = session.scaler(torch.full((1, *spec.shape), value_range(spec)[0])).float().flatten()
    other = principal_view(sample, seed=session.seed, components=components, origin=black)
    some = sample[:: math.ceil(len(sample) / _MOST_COMPARED)]
    count = suited_neighbors(len(some), k, most=30)
    mean, dark = (mutual_share(v.coordinates(some).numpy(), count) for v in (view, other))
    if dark <= mean:
        return view
    session.note("images seen from black", mutual=dark, from_mean=mean)
    return other


def _sample(session: Session) -> Float[Tensor, "m p"]:
    n, p = len(session.rows), session.rows.spec.size
    count = min(n, _MOST_ROWS, max(1, _MOST_VALUES // p))
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(session.seed))[:count].sort().values
    return session.scaler(session.rows.gather(chosen)).float().flatten(1)


@dataclass(frozen=True, repr=False)
class Guide(AbstractParameters):
    """How a model that has a classifier is led to a partition found beforehand.

    Parameters
    ----------
    start
        What partitions the codes of an auto-encoder, see `deepclust.partition.start`.
    pretrain
        Schedule of that auto-encoder.
    hold
        Share of the clustering phase during which the classifier is held to the partition.
    pull
        Weight of the cross-entropy that does it.
    warmup
        Share of the clustering phase over which the weight of the divergences rises from 0 to 1.
    noise
        Standard deviation of q(z|x) at first, relative to that of the codes.
    """

    start: Start = "linkage+rows"
    pretrain: Schedule | Stacked = _PRETRAIN
    hold: Share = 0.5
    pull: NonNegativeFloat = 10.0
    warmup: Share = 0.1
    noise: NonNegativeFloat = 0.1

    def find(
        self, session: Session, model: Placeable, autoencoder: Any, encode: Callable[[Tensor], Tensor], k: int
    ) -> Int64[Tensor, " n"]:
        """Pretrain the auto-encoder, partition its codes, place the model's components by that."""
        pretrain(session, model, autoencoder, model.likelihood, self.pretrain, until=0.5)  # type: ignore[arg-type]
        codes = session.map(encode, model)  # type: ignore[arg-type]
        labels = find_start(session, model, codes, k, self.start)  # type: ignore[arg-type]
        model.start_at(codes, labels, self.noise)
        return labels

    def weight(self, batch: Batch) -> float:
        """Return the weight of the divergences at this moment."""
        return min(1.0, batch.progress.share / self.warmup) if self.warmup else 1.0

    def cost(self, log_p: Float[Tensor, "b k"], batch: Batch, labels: Int64[Tensor, " n"] | None) -> Float[Tensor, ""]:
        """Return the mean cross-entropy to the partition, weighted; zero once let go, and for rows labelled -1."""
        if labels is None or batch.progress.share >= self.hold:
            return torch.zeros((), device=log_p.device)
        return self.pull * F.nll_loss(log_p, batch.take(labels), ignore_index=-1, reduction="none").mean()
