r"""JULE: agglomeration and representation take turns, from many clusters down to k.

Algorithm
---------
1. Join every row to its nearest neighbour: many small clusters.
2. Until k clusters are left: train the network so that rows of one cluster come nearer to each other than to rows of
   others (weighted triplets); compute all features, their neighbour graph and the clusters' affinities; merge a share
   of the clusters, each time the pair that belongs together most and stands out from its surroundings.
3. ``mode="RC"``: forget the clusters and agglomerate the final features from the start, down to k; ``"SF"`` keeps
   them.

A row belongs to the cluster of its nearest training features.

Symbols
-------
=================== ============================================= ====================
symbol              meaning                                       name in code
=================== ============================================= ====================
:math:`W`           directed affinity of rows, K_s neighbours     ``graph``
:math:`A(i, j)`     affinity of clusters                          ``linkage.affinity``
:math:`K_c,\lambda` clusters looked at, weight of the contrast    ``around``, ``contrast``
:math:`\eta`        share of clusters merged in a period          ``eta``
:math:`\gamma, m`   weight of the near side, margin               ``gamma``, ``margin``
=================== ============================================= ====================

Deviations
----------
Left alone, the network moves its clusters so far apart that the graph no longer tells which belong together. By default
images are therefore shifted and turned a little while it trains. Of flat rows, of which the publication has none, wide
ones lose half of their values (``Triplet(dropout=...)``) and narrow ones are moved as neighbours differ, in batches of
pairs (``jitter``, ``batches``; others are random, as published), before a network that normalises its layers. The
affinity of merged clusters is exact by default; the paper preset adds what is not additive, as the program's fast mode,
and joins clusters without any link while clusters are many (``Merging(isolated_above=...)``); by default a handful of
rows that nothing points at does not count as a cluster instead (``Merging(outlier_share=...)``). Periods can also undo
merges of former ones (``Merging(anew=...)``), and the last look farther (``last_neighbors``); neither is on by default.

The contrast counts above 100 clusters, as in the program (the paper: always); all neighbours are read (the program:
half). The paper preset's rate falls anew in every period. Features for merging are computed with frozen statistics of
the batch normalisation. Gradients are those of the loss; the program's lose two of three terms. The publications have
no rule for new rows.

References
----------
Yang, Parikh, Batra (2016), "Joint unsupervised learning of deep representations and image clusters", CVPR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Budget, Inverse, Phase, Schedule, Session, Trainer
from deepclust.engine.samplers import Pairs
from deepclust.errors import InvalidParameterError
from deepclust.graph import global_affinity, moved, neighbor_differences
from deepclust.methods.jule.model import JULEModel, Merging, Triplet
from deepclust.networks import MLP, AbstractNetwork, Pooled, Scaling, build_network
from deepclust.objectives.triplets import pair_triplets, triplet_loss
from deepclust.params import Auto, ClusterCount, Count, RandomState
from deepclust.partition.linkage import MergeTree, agglomerate, split_largest
from deepclust.partition.local_linkage import LocalLinkage, merges_so_far
from deepclust.partition.sampled import sample_of
from deepclust.together import gathered

__all__ = ["JULE", "JULEModel", "Merging", "Triplet"]

_EXEMPLARS = 20_000
_MOST_NEIGHBORS = 500  # of the last merges: half of an average cluster of mnist-dev


class JULE(AbstractDeepClusterer):
    """Joint unsupervised learning of representations and clusters.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        ``"auto"`` (`Pooled` for images, a normalised `MLP` for flat rows), a builder, or your own ``(encoder,
        decoder)`` modules, of which the encoder is used.
    mode
        ``"RC"`` agglomerates the final features anew, ``"SF"`` keeps the clusters that the periods led to.
    merging
        How clusters are merged.
    triplet
        What the network learns from them.
    schedule
        Of the network in every period.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one with the nearest exemplars is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.

    Attributes
    ----------
    tree_ : MergeTree
        How the clusters came about: of the last agglomeration (``"RC"``), or over all periods (``"SF"``), of which the
        last two count with ``Merging(anew=True)``. Not saved.
    """

    presets: ClassVar = {"paper": lambda data: _paper(data)}

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        mode: Literal["RC", "SF"] = "RC",
        merging: Merging = Merging(),
        triplet: Triplet = Triplet(batches="auto", jitter="auto"),
        schedule: Schedule = Schedule(
            epochs=Budget(passes=20, least_steps=500, most_steps=6_000), batch_size=100, augment="auto"
        ),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.mode = mode
        self.merging = merging
        self.triplet = triplet
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        return "unit" if spec.is_image else "standard"

    def _build(self, spec: Spec) -> JULEModel:
        if self.mode == "RC" and self.merging.last_neighbors is not None:
            raise InvalidParameterError(
                "The 'last_neighbors' parameter of Merging must be None with mode='RC', which forgets the merges of "
                f"the last period. Got {self.merging.last_neighbors!r}; take mode='SF', or leave it out."
            )
        default: AbstractNetwork = Pooled() if spec.is_image else MLP(latent=32, norm=True)
        network = build_network(self.network, default, spec)
        return JULEModel(network, self.n_clusters, min(spec.n, _EXEMPLARS))

    def _recipe(self, model: JULEModel, session: Session) -> None:
        chosen = sample_of(len(session.rows), session.seed)
        if chosen is None:
            self._merge_and_learn(model, session)
            return
        # Of very many rows a sample is agglomerated, and the network tells which exemplars of it the others are near.
        session.once("sampled", lambda: session.note("partition of a sample", rows=len(chosen)))
        with session.on(session.rows.take(chosen)):
            self._merge_and_learn(model, session)
        session.start_labels = None

    def _merge_and_learn(self, model: JULEModel, session: Session) -> None:
        # 1. Join every row to its nearest neighbour, among the rows as they are.
        rows = session.map(lambda x: x.flatten(1), model)
        state = session.once("first", lambda: self._first(F.normalize(rows, dim=1)))
        session.start_labels, first = state["start"], int(state["labels"].max()) + 1
        # 2. Take turns.
        rule, moves = self.triplet.settled(session.rows.spec), None
        if rule.jitter:
            moves = session.once("moves", lambda: {"of": neighbor_differences(rows, session.seed)})["of"]
        period = 0
        while period == 0 or int(state["labels"].max()) + 1 > self.n_clusters:
            self._train(model, session, state["labels"], period, rule, moves)
            features = session.map(model.embed, model)
            merge = partial(self._merge, features, state, first, period + 1)
            state = session.once(f"merge-{period}", merge)
            period += 1
        # 3. Agglomerate the final features from the start.
        features = session.map(model.embed, model)
        if self.mode == "RC":
            state = session.once("anew", lambda: self._anew(features))
        chosen = session.once("exemplars", lambda: {"rows": _sample(len(features), session.seed)})["rows"]
        labels = state["labels"]
        if int(labels.max()) + 1 < self.n_clusters:
            labels = torch.from_numpy(split_largest(features.numpy(), labels.numpy(), self.n_clusters))
        model.head.place(features[chosen], labels[chosen])
        children = state["children"].numpy()
        self.tree_ = MergeTree(state["first"].numpy(), children, state["affinities"].numpy())

    def _train(
        self,
        model: JULEModel,
        session: Session,
        labels: Int64[Tensor, " n"],
        period: int,
        rule: Triplet,
        moves: Float[Tensor, "m d"] | None,
    ) -> None:
        def loss(model: JULEModel, batch: Batch) -> Mapping[str, Tensor]:
            own = gathered(batch.take(labels))
            triplets = pair_triplets(own, rule.negatives)
            x = batch.x if moves is None else moved(batch.x, moves, float(rule.jitter))
            z = gathered(model.embed(F.dropout(x, rule.dropout or 0.0)))
            return {"triplet": triplet_loss(z, triplets, gamma=rule.gamma, margin=rule.margin)}

        session.train(
            Phase(
                name=f"period-{period}",
                model=model,
                objective=loss,
                schedule=self.schedule,
                trains=[model.encoder],
                sampler=Pairs(labels) if rule.batches == "pairs" else None,
            )
        )

    def _linkage(
        self, features: Float[Tensor, "n d"], first: Int64[Tensor, " n"] | None, *, neighbors: int | None = None
    ) -> LocalLinkage:
        points = features.numpy()
        rule = self.merging
        graph = global_affinity(points, neighbors or rule.neighbors)
        start = None if first is None else first.numpy()
        linkage = LocalLinkage(
            graph,
            points,
            first=start,
            around=rule.around,
            contrast=rule.contrast,
            contrast_above=rule.contrast_above,
            additive=rule.affinities == "additive",
        )
        if rule.isolated_above is not None and len(linkage.members) > rule.isolated_above * self.n_clusters:
            linkage.join_isolated(self.n_clusters)
        return linkage

    def _first(self, raw: Float[Tensor, "n d"]) -> dict[str, Tensor]:
        """Return the first clusters, and what agglomeration of the rows as they are makes of them."""
        linkage = self._linkage(raw, None)
        state = _state(linkage)
        return {**state, "start": self._down_to_k(linkage)}

    def _down_to_k(self, linkage: LocalLinkage) -> Int64[Tensor, " n"]:
        return torch.from_numpy(agglomerate(linkage, self.n_clusters, self.merging.outlier_share))

    def _merge(
        self, features: Float[Tensor, "n d"], before: dict[str, Tensor], first: int, period: int
    ) -> dict[str, Tensor]:
        """Merge a share of the clusters, of so many at first; where they are kept, their tree goes on."""
        rule = self.merging
        kept = None if rule.anew else self._linkage(features, before["labels"])
        have = int(before["labels"].max()) + 1 if kept is None else len(kept.members)  # isolated ones may have joined
        left = self._left(first, have, period)
        if left == self.n_clusters:
            if kept is None or rule.last_neighbors is not None:
                kept = self._linkage(features, before["labels"], neighbors=self._last_neighbors(len(features)))
            labels = self._down_to_k(kept)
            return {**_state(kept, before), "labels": labels}
        linkage = self._linkage(features, None) if kept is None else kept
        while len(linkage.members) > left:
            linkage.merge_best()
        return _state(linkage, None if kept is None else before)

    def _last_neighbors(self, n: int) -> int:
        """Return how many neighbours a row has in the graph of the last period, of n rows."""
        rule = self.merging
        if isinstance(rule.last_neighbors, str):
            return max(rule.neighbors, min(_MOST_NEIGHBORS, n // (2 * self.n_clusters)))
        return rule.last_neighbors or rule.neighbors

    def _left(self, first: int, have: int, period: int) -> int:
        """Return how many clusters a period leaves, counted from 1, of those at first and those before it."""
        rule, k = self.merging, self.n_clusters
        if isinstance(rule.eta, str):
            left = math.ceil(first * (k / first) ** min(1.0, period / rule.periods) - 1e-9)
            return max(k, min(left, have - 1))
        return max(k, have - math.ceil(rule.eta * have))

    def _anew(self, features: Float[Tensor, "n d"]) -> dict[str, Tensor]:
        linkage = self._linkage(features, None)
        labels = self._down_to_k(linkage)
        return {**_state(linkage), "labels": labels}


def _state(linkage: LocalLinkage, before: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    state = merges_so_far(linkage, None if before is None else {name: part.numpy() for name, part in before.items()})
    return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in state.items()}


def _sample(n: int, seed: int) -> Int64[Tensor, " m"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=generator)[:_EXEMPLARS].sort().values


def _paper(data: str | None) -> dict[str, Any]:
    """Settings of the published program."""
    faces = data in ("cmu-pie", "umist", "frgc", "ytf")
    return {
        "network": Pooled(),
        "merging": Merging(eta=0.2 if faces else 0.9, outlier_share=0.0, affinities="additive", isolated_above=20),
        "triplet": Triplet(batches="random"),
        "schedule": Schedule(epochs=20, lr=0.01, optimizer="sgd", decay=Inverse(), weight_decay=5e-5, batch_size=100),
        "trainer": Trainer(precision="fp32"),
    }
