"""A label-free start for models that could begin anywhere: a partition of an auto-encoder's codes, held for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deepclust.data.batch import Batch
from deepclust.engine import Cosine, Schedule, Session
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.params import AbstractParameters, NonNegativeFloat, Share
from deepclust.partition import Start, start_labels
from deepclust.pretraining import Stacked, pretrain

_PRETRAIN = Schedule(decay=Cosine())


class Placeable(Protocol):
    """A model whose components a partition of codes can place."""

    likelihood: AbstractLikelihood

    def start_at(self, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], noise: float) -> None:
        """Place the components, with posteriors of this relative spread."""


def find_start(session: Session, codes: Float[Tensor, "n d"], k: int, start: Start) -> Int64[Tensor, " n"]:
    """Partition codes once a run; the session remembers it as what clustering started from."""
    found = session.once("start", lambda: {"labels": start_labels(codes, k, start, seed=session.seed)})
    labels: Int64[Tensor, " n"] = found["labels"]
    session.start_labels = labels
    return labels


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

    start: Start = "linkage"
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
        labels = find_start(session, codes, k, self.start)
        model.start_at(codes, labels, self.noise)
        return labels

    def weight(self, batch: Batch) -> float:
        """Return the weight of the divergences at this moment."""
        return min(1.0, batch.progress.share / self.warmup) if self.warmup else 1.0

    def cost(self, log_p: Float[Tensor, "b k"], batch: Batch, labels: Int64[Tensor, " n"] | None) -> Float[Tensor, ""]:
        """Return the mean cross-entropy to the partition, weighted; zero once it is let go."""
        if labels is None or batch.progress.share >= self.hold:
            return torch.zeros((), device=log_p.device)
        return self.pull * F.nll_loss(log_p, labels.to(batch.index.device)[batch.index])
