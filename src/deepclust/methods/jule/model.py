"""The network of JULE, and the parameters that describe how it merges and learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.data.rows import Spec
from deepclust.model import AbstractClusterModel
from deepclust.networks.autoencoder import Autoencoder
from deepclust.networks.heads import ExemplarHead
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

_WIDE = 64  # values of the narrowest rows that were seen to bear the loss of half of them


@dataclass(frozen=True, repr=False)
class Merging(AbstractParameters):
    """How clusters are merged.

    Parameters
    ----------
    eta
        Share of the clusters that a period merges: published are 0.9 for objects and digits, 0.2 for faces;
        ``"auto"`` takes the share that leads to k in ``periods`` periods.
    periods
        How many, where ``eta`` is ``"auto"``.
    anew
        Every period but the last agglomerates from the rows, down to the number of clusters that it is to leave, and so
        undoes mistakes of former ones; the last merges the clusters that the network has learned. Otherwise, as
        published, each goes on from the clusters of the one before. With ``last_neighbors`` digits gain by it, and
        no other set that was measured.
    neighbors
        Neighbours a row in the graph.
    last_neighbors
        The same for the last period, which leads to k; ``"auto"`` is half of an average cluster's rows, at most 500, if
        that is more; None is ``neighbors``. The network moves what it took for clusters so far apart that a row's few
        nearest neighbours are in its own one. Of ``mode="SF"`` alone: ``"RC"`` forgets these merges.
    around, contrast
        Nearest clusters that a pair must stand out from, and the weight of that.
    contrast_above
        It counts while there are more clusters than this, as in the published program.
    outlier_share
        Clusters smaller than this share of an average one do not count among the k; 0 is the published algorithm, which
        a few rows that nothing points at cost whole clusters.
    affinities
        Of merged clusters: ``"exact"``, or ``"additive"``, sums of those of their parts, as in the published program.
    isolated_above
        While there are more than this many clusters for each of the k, those without any link are joined with the ones
        of the nearest means before anything else is merged; None never does, 20 is the published program's.
    """

    eta: Share | Auto = "auto"
    periods: Count = field(default=4, metadata=ADDED)
    anew: bool = field(default=False, metadata=ADDED)
    neighbors: Count = 20
    last_neighbors: Count | Auto | None = field(default=None, metadata=ADDED)
    around: Count = 5
    contrast: NonNegativeFloat = 1.0
    contrast_above: NonNegativeInt = 100
    outlier_share: Share = 0.2
    affinities: Literal["exact", "additive"] = field(default="exact", metadata=ADDED)
    isolated_above: NonNegativeInt | None = field(default=None, metadata=ADDED)


@dataclass(frozen=True, repr=False)
class Triplet(AbstractParameters):
    """What the network learns from the clusters.

    Parameters
    ----------
    gamma, margin
        Weight of the distance within a cluster, and by how much the one to other clusters must exceed it.
    negatives
        Rows of other clusters for every pair.
    batches
        ``"pairs"``: rows at random, each with one of its own cluster. ``"random"``, as published and in the paper
        preset: hardly a pair while clusters are many. ``"auto"``: pairs of flat rows of fewer than 64 values, random of
        others.
    jitter
        Every row is moved, while the network trains, by so many times the difference of two neighbouring rows drawn
        elsewhere; ``"auto"`` is 1 for flat rows of fewer than 64 values, and 0 for others.
    dropout
        Share of a row's values that are set to 0, the others scaled up for it, while the network trains; None is a half
        where ``jitter`` is ``"auto"`` and rows are flat and of 64 values at least, and 0 otherwise.
    """

    gamma: PositiveFloat = 1.0
    margin: PositiveFloat = 0.2
    negatives: Count = 20
    batches: Literal["auto", "pairs", "random"] = field(default="pairs", metadata=ADDED)
    jitter: NonNegativeFloat | Auto = field(default=0.0, metadata=ADDED)
    dropout: ShareBelowOne | None = field(default=None, metadata=ADDED)

    def settled(self, spec: Spec) -> Triplet:
        """Return these parameters with values for ``"auto"`` and None."""
        is_narrow, is_auto = not spec.is_image and spec.size < _WIDE, self.jitter == "auto"
        half = 0.5 if is_auto and not spec.is_image and not is_narrow else 0.0
        return self(
            batches=("pairs" if is_narrow else "random") if self.batches == "auto" else self.batches,
            jitter=float(is_narrow) if is_auto else self.jitter,
            dropout=half if self.dropout is None else self.dropout,
        )


class JULEModel(AbstractClusterModel):
    """An encoder with features of unit length, and exemplars among them."""

    def __init__(self, network: Autoencoder, k: int, exemplars: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"trunk": network.encoder, "head": network.head})
        self.head = ExemplarHead(k, network.latent, exemplars)

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return features of unit length."""
        features: Tensor = self.encoder["head"](self.encoder["trunk"](x))
        return F.normalize(features.float(), dim=1)

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the vote of near exemplars."""
        return self.head.assign(self.embed(x))

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return minus the mean squared distance to the near exemplars."""
        return self.head.score(self.embed(x))
