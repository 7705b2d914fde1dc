r"""SpectralNet: a network that maps rows to the leading eigenvectors of their neighbour graph.

Algorithm
---------
1. Pretrain an auto-encoder; what follows sees its codes. (Flat rows of few values are their own codes.)
2. Train a Siamese network on pairs of neighbours and of others (eq. 8). Its distances give the graph.
3. Train the spectral map: outputs that are orthonormal over a batch (eq. 4) and cost little on the graph (eq. 3).
4. Make the outputs orthonormal over all rows, and run k-means on them.

A row belongs to the centre nearest to its outputs. New rows pass through code and map; a Siamese network on codes
serves the graph alone.

Symbols
-------
===================== ================================== =====================
symbol                meaning                            name in code
===================== ================================== =====================
:math:`x`             row, or its code                   ``codes``
:math:`G(x)`          Siamese embedding                  ``points``
:math:`W`             affinity                           ``graph``
:math:`\tilde y`      output before the last layer       ``raw``
:math:`y = F(x)`      output, orthonormal over a batch   ``y``
===================== ================================== =====================

Deviations
----------
By default the graph is that of all rows, and a step draws edges in proportion to their weight and makes the outputs of
their ends orthonormal: this estimates the normalised cut of the whole graph, where a batch's own graph
(``Affinity(scope="batch")``, presets) joins rows that are no neighbours. The Siamese network sees images themselves,
changed a little, and the map takes its features (``Siamese(sees="codes")`` is the published one). There are a quarter
more outputs than clusters, at least one, and k-means parts their directions, see `SpectralMap`. The last weights are
computed on all rows; the programs keep those of the last batch. They are a buffer, saved with the model; gradients flow
through them, as in both programs, unless ``Orthonormal(detach=True)``. k-means runs once, at the end of `fit`, so that
labels never move between calls.

References
----------
Shaham, Stanton, Li, Nadler, Basri, Kluger (2018), "SpectralNet: spectral clustering using deep neural networks", ICLR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Budget, Cosine, Phase, Schedule, Session, Trainer
from deepclust.engine.samplers import Triples, Within
from deepclust.graph import nearest_neighbors
from deepclust.methods.spectralnet.model import Siamese, SpectralMap, SpectralNetModel, code_spread
from deepclust.networks import MLP, AbstractNetwork, Conv, Pooled, Scaling, build_network
from deepclust.networks.likelihood import likelihood_scaling, make_likelihood, resolve_likelihood
from deepclust.networks.orthonormal import Orthonormal, orthonormality_error
from deepclust.objectives.affinity import Affinity, batch_affinity, median_scale
from deepclust.objectives.spectral import contrastive_cost, edge_cost, spectral_cost
from deepclust.params import (
    Auto,
    ClusterCount,
    Count,
    RandomState,
)
from deepclust.partition import kmeans, sample_of, some_of
from deepclust.pretraining import Stacked, pretrain
from deepclust.together import gathered
from deepclust.walks import graph_walks

_FEW_VALUES = 10  # flat rows of no more need no code
_CHANGED = Schedule(epochs=Budget(passes=20, least_steps=500, most_steps=4_000), batch_size=384, augment="auto")


__all__ = ["Siamese", "SpectralMap", "SpectralNet", "SpectralNetModel"]


class SpectralNet(AbstractDeepClusterer):
    """Spectral clustering by a network: any number of rows, and new ones.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        Auto-encoder of the codes: ``"auto"`` (convolutional for images, fully connected for flat rows, none for flat
        rows of ten values or fewer), a builder, your own ``(encoder, decoder)`` modules, or None for the rows as they
        are. Where the Siamese network sees rows, codes only tell which of them are neighbours.
    siamese
        The network that gives the graph; None takes distances between codes, which rows that ``network="auto"`` leaves
        as they are do anyway.
    affinity
        The graph.
    mapping
        The network that gives the eigenvectors.
    orthonormal
        Its last layer.
    pretrain, schedule
        Schedules of auto-encoder and spectral map.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one whose outputs lie nearest to their centres is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.
    """

    presets: ClassVar = {"paper": lambda data: _paper(data), "package": lambda data: _package(data)}

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] | None = "auto",
        siamese: Siamese | None = Siamese(sees="rows", schedule=_CHANGED),
        affinity: Affinity = Affinity(),
        mapping: SpectralMap = SpectralMap(more=0.25, directions=True),
        orthonormal: Orthonormal = Orthonormal(),
        pretrain: Schedule | Stacked = Schedule(decay=Cosine()),
        schedule: Schedule = Schedule(
            epochs=Budget(passes=100, least_steps=500, most_steps=6_000), batch_size=1024, decay=Cosine()
        ),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.siamese = siamese
        self.affinity = affinity
        self.mapping = mapping
        self.orthonormal = orthonormal
        self.pretrain = pretrain
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        return (
            likelihood_scaling(resolve_likelihood("auto", spec, "SpectralNet")) if self._has_code(spec) else "standard"
        )

    def _has_code(self, spec: Spec) -> bool:
        return self.network is not None and (
            not isinstance(self.network, str) or spec.is_image or spec.size > _FEW_VALUES
        )

    def _metric(self, spec: Spec) -> Siamese | None:
        return self.siamese if self.network is None or self._has_code(spec) else None

    def _build(self, spec: Spec) -> SpectralNetModel:
        default: AbstractNetwork = Conv() if spec.is_image else MLP()
        likelihood = make_likelihood(resolve_likelihood("auto", spec, "SpectralNet"), spec)
        network = build_network(self.network, default, likelihood.decoded(spec)) if self._has_code(spec) else None
        size = spec.size if network is None else network.latent
        rule = self._metric(spec)
        siamese = Pooled().build(spec) if rule is not None and rule.sees == "rows" and spec.is_image else rule
        return SpectralNetModel(network, likelihood, size, self.n_clusters, siamese, self.mapping, self.orthonormal)

    def _recipe(self, model: SpectralNetModel, session: Session) -> None:
        # 1. Codes.
        if model.network is not None:
            pretrain(session, model, model.network, model.likelihood, self.pretrain, until=0.3)
            model.measure(**session.once("spread", lambda: code_spread(session.map(model.raw_code, model))))
        codes = session.map(model.code, model)
        # 2. The metric.
        rule = self._metric(session.rows.spec)
        if rule is not None:
            self._train_siamese(model, session, codes, rule)
        codes = session.map(model.mapped, model)  # a resumed run has its networks back only now
        points = codes if model.siamese is None else session.map(model.metric, model)
        # 3. The spectral map.
        if self.affinity.scope == "data":
            self._train_on_edges(model, session, codes, points)
        else:
            self._train_on_batches(model, session, codes, points)
        # 4. Orthonormal over all rows; k-means.
        raw = session.map(model.raw, model)
        model.last.fitted(raw)
        y = model.last(raw).float()
        session.note("orthonormal", error=orthonormality_error(y))
        some = some_of(model.place(y), session.seed)
        found = session.once("kmeans", lambda: kmeans(some, self.n_clusters, seed=session.seed)._asdict())
        model.head.place(found["centers"], found["labels"], found["inertia"])

    def _train_siamese(self, model: SpectralNetModel, session: Session, codes: Tensor, rule: Siamese) -> None:
        chosen, some = sample_of(len(codes), session.seed), some_of(codes, session.seed)
        near = session.once(
            "pairs", lambda: {"index": torch.from_numpy(nearest_neighbors(some.numpy(), rule.neighbors)[1])}
        )
        triples = Triples(near["index"])

        def loss(model: SpectralNetModel, batch: Batch) -> Mapping[str, Tensor]:
            if model.seeing is None:
                z = gathered(model.distances_of(batch.take(codes)))
            else:
                z = gathered(model.metric(batch.x))
            anchor, mate, other = z.tensor_split(3)
            m = min(len(anchor), len(mate), len(other))
            pairs = torch.cat([anchor[:m] - mate[:m], anchor[:m] - other[:m]])
            distance = pairs.square().sum(1).clamp(min=1e-7).sqrt()
            is_near = torch.arange(2 * m, device=distance.device) < m
            return {"pairs": contrastive_cost(distance, is_near, margin=rule.margin, slack=rule.slack).mean()}

        session.train(
            Phase(
                name="siamese",
                model=model,
                objective=loss,
                schedule=rule.schedule,
                trains=[model.seeing or model.siamese],  # type: ignore[list-item]
                sampler=triples if chosen is None else Within(chosen, triples),
                until=0.5,
            )
        )

    def _train_on_edges(self, model: SpectralNetModel, session: Session, codes: Tensor, points: Tensor) -> None:
        rule = self.affinity

        walks = graph_walks(session, points, rule)

        def loss(model: SpectralNetModel, batch: Batch) -> Mapping[str, Tensor]:
            raw = gathered(model.raw_of(batch.take(codes)))
            y = raw.double() @ model.last.fitted(raw)
            left, right = y.tensor_split(2)
            m = min(len(left), len(right))
            return {"cut": edge_cost(left[:m], right[:m])}

        session.train(self._phase(model, loss, walks))

    def _train_on_batches(self, model: SpectralNetModel, session: Session, codes: Tensor, points: Tensor) -> None:
        rule = self.affinity
        size = (self.schedule.batch_size or self.trainer.batch_size) // 2

        def measure() -> dict[str, float]:
            rows = torch.randint(len(points), (size,), generator=torch.Generator().manual_seed(session.seed))
            return {"scale": median_scale(torch.cdist(points[rows].double(), points[rows].double()), rule)}

        scale = session.once("scale", measure)["scale"] if rule.scale == "median" else None

        def loss(model: SpectralNetModel, batch: Batch) -> Mapping[str, Tensor]:
            raw = gathered(model.raw_of(batch.take(codes)))
            first, second = raw.tensor_split(2)
            weights = model.last.fitted(first)
            near = gathered(batch.take(points)).tensor_split(2)[1]
            graph = batch_affinity(near, rule, scale)
            return {"cut": spectral_cost(second.double() @ weights, graph, normalized=self.mapping.normalized)}

        session.train(self._phase(model, loss, None))

    def _phase(self, model: SpectralNetModel, loss: Any, sampler: Any) -> Phase:
        return Phase(
            name="cluster", model=model, objective=loss, schedule=self.schedule, trains=[model.mapping], sampler=sampler
        )


def _paper(data: str | None) -> dict[str, Any]:
    """Settings of the TensorFlow program; its plateau rule for the rate is a cosine here."""
    toy = data in ("nested-c", "two-moons")
    near = Affinity(scope="batch", neighbors=None if toy else 3, counts_self=True, scale="median", scale_neighbor=2)
    batch = 128 if toy else 1024
    return {
        "network": None if toy else MLP(),
        "siamese": None if toy else Siamese(slack=0.05, schedule=Schedule(epochs=40, batch_size=192, decay=Cosine())),
        "affinity": near,
        "mapping": SpectralMap(hidden=(50, 50, 50), units="softplus") if toy else SpectralMap(),
        "schedule": Schedule(
            epochs=300 if toy else 150, steps=None if toy else 100, batch_size=2 * batch, decay=Cosine()
        ),
        "trainer": Trainer(precision="fp32"),
    }


def _package(data: str | None) -> dict[str, Any]:
    """Settings of the PyTorch package, 0.1.2."""
    moons = data == "two-moons"
    near = Affinity(scope="batch", neighbors=31, counts_self=True, scale="local", factor=1.0)
    if moons:
        near = Affinity(scope="batch", neighbors=9, counts_self=True, scale="median", scale_neighbor=2, factor=1.0)
    return {
        "network": None if moons else MLP(hidden=(512, 512, 2048)),
        "siamese": None if moons else Siamese(schedule=Schedule(epochs=30, batch_size=192)),
        "affinity": near,
        "mapping": SpectralMap(hidden=(128, 128) if moons else (1024, 1024, 512), units="leaky"),
        "orthonormal": Orthonormal(kind="qr"),
        "pretrain": Schedule(epochs=40, batch_size=256),
        "schedule": Schedule(epochs=40, lr=1e-2, batch_size=1424) if moons else Schedule(epochs=30, batch_size=2048),
        "trainer": Trainer(precision="fp32"),
    }
