"""A label-free start for models that could begin anywhere: a partition of an auto-encoder's codes, held for a while."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deepclust.data.batch import Batch
from deepclust.engine import Cosine, Schedule
from deepclust.params import AbstractParameters, NonNegativeFloat, Share
from deepclust.partition import Start
from deepclust.pretraining import Stacked

_PRETRAIN = Schedule(decay=Cosine())


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

    def weight(self, batch: Batch) -> float:
        """Return the weight of the divergences at this moment."""
        return min(1.0, batch.progress.share / self.warmup) if self.warmup else 1.0

    def cost(self, log_p: Float[Tensor, "b k"], batch: Batch, labels: Int64[Tensor, " n"] | None) -> Float[Tensor, ""]:
        """Return the mean cross-entropy to the partition, weighted; zero once it is let go."""
        if labels is None or batch.progress.share >= self.hold:
            return torch.zeros((), device=log_p.device)
        return self.pull * F.nll_loss(log_p, labels.to(batch.index.device)[batch.index])
