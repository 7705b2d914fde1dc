r"""DCN: an auto-encoder whose codes are drawn to the centres of k-means, which follow the codes step by step.

Algorithm
---------
1. Pretrain an auto-encoder.
2. Partition the codes of all rows; place the centres.
3. Every step: (a) change the networks so that codes come nearer to the centres of their own clusters and still give
   back the rows; (b) encode the step's rows anew and give each to its nearest centre; (c) move each of these centres
   towards its new codes by one over the number of codes that it has had.

A row belongs to the nearest centre.

Symbols
-------
=================== ==================================== ==================
symbol              meaning                              name in code
=================== ==================================== ==================
:math:`f(x_i)`      code                                 ``z``
:math:`s_i`         cluster                              ``labels``
:math:`m_k`         centre, column of M                  ``centers``
:math:`c_k`         codes that a centre has had          ``counts``
:math:`\lambda`     weight                               ``weight``
=================== ==================================== ==================

Deviations
----------
Decoder weights are free; the program ties them to the encoder's. The centres start at the means of a linkage of
codes and rows, whose clusters stand for half of the phase; preset ``"paper"`` takes k-means and lets go at once. The
order of rows changes every epoch. Momentum is plain, not Nesterov's. Values are scaled to [0, 1] and the squared error
is multiplied by 26, where the program has MNIST in [0, 5.1]. The final clusters are those of the nearest centre; the
program runs k-means once more.

References
----------
Yang, Fu, Sidiropoulos, Hong (2017), "Towards k-means-friendly spaces: simultaneous deep learning and clustering", ICML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Cosine, Phase, Schedule, Session, Trainer
from deepclust.guidance import find_start
from deepclust.model import GenerativePartitionModel
from deepclust.networks import MLP, AbstractNetwork, Conv, Scaling, build_network
from deepclust.networks.heads import CenterHead
from deepclust.networks.likelihood import (
    Gaussian,
    Likelihood,
    likelihood_scaling,
    make_likelihood,
    resolve_likelihood,
)
from deepclust.params import Auto, ClusterCount, Count, PositiveFloat, RandomState, Share
from deepclust.partition import Start, diagonal_moments
from deepclust.pretraining import Stacked, pretrain
from deepclust.together import gathered

_FIRST_COUNT = 100  # codes that every centre is taken to have had at the start


class DCN(AbstractDeepClusterer):
    """Deep clustering network: an auto-encoder with codes that suit k-means.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        ``"auto"`` (convolutional for images, fully connected for flat rows), a builder, or your own
        ``(encoder, decoder)`` modules.
    likelihood
        Of the auto-encoder, as in `VaDE`.
    start
        What places the centres, see `deepclust.partition.start`; the paper's is ``"kmeans"``.
    hold
        Share of the clustering phase in which every row stays with the cluster that the start gave it.
    weight
        Of half the squared distance to the centre, beside a reconstruction of weight one.
    pretrain, schedule
        Schedules of the two phases; a `Stacked` first one trains layer by layer before.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one whose codes lie nearest to their centres is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.
    """

    presets: ClassVar = {"paper": lambda data: _paper()}

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        likelihood: Likelihood = "auto",
        start: Start = "linkage+rows",
        hold: Share = 0.5,
        weight: PositiveFloat = 10.0,
        pretrain: Schedule | Stacked = Schedule(decay=Cosine()),
        schedule: Schedule = Schedule(decay=Cosine(), clip_norm=5.0),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.likelihood = likelihood
        self.start = start
        self.hold = hold
        self.weight = weight
        self.pretrain = pretrain
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        return likelihood_scaling(resolve_likelihood(self.likelihood, spec, "DCN"))

    def _build(self, spec: Spec) -> DCNModel:
        default: AbstractNetwork = Conv() if spec.is_image else MLP()
        likelihood = make_likelihood(resolve_likelihood(self.likelihood, spec, "DCN"), spec)
        network = build_network(self.network, default, likelihood.decoded(spec))
        return DCNModel(network, likelihood, CenterHead(self.n_clusters, network.latent))

    def _recipe(self, model: DCNModel, session: Session) -> None:
        # 1. Pretrain an auto-encoder.
        pretrain(session, model, model.network, model.likelihood, self.pretrain, until=0.5)
        # 2. Place the centres.
        codes = session.map(model.embed, model)
        labels = find_start(session, model, codes, self.n_clusters, self.start)
        model.head.centers.copy_(diagonal_moments(codes, labels, self.n_clusters).means)
        # 3. Networks, clusters and centres in turn.
        members = session.keep("members", Members(labels, torch.full((self.n_clusters,), float(_FIRST_COUNT))))
        self._take_turns("cluster", model, session, self.schedule, members, self.hold)

    def _update(self, model: DCNModel, session: Session, schedule: Schedule) -> None:
        labels = session.map(model.assign, model).argmax(1)
        self._take_turns("update", model, session, schedule, Members(labels, model.head.counts.cpu()), 0.0)

    def _take_turns(
        self, name: str, model: DCNModel, session: Session, schedule: Schedule, members: Members, hold: float
    ) -> None:
        session.train(
            Phase(
                name=name,
                model=model,
                objective=lambda model, batch: self._loss(model, batch, members),
                schedule=schedule,
                trains=[model.network, model.likelihood],
                after_step=lambda batch: members.follow(model, batch, stay=batch.progress.share < hold),
                clusters=True,
            )
        )
        codes = session.map(model.embed, model)
        distance, nearest = torch.cdist(codes.double(), model.head.centers.double().cpu()).min(1)
        model.head.place(model.head.centers, nearest, float(distance.square().sum()))

    def _loss(self, model: DCNModel, batch: Batch, members: Members) -> Mapping[str, Tensor]:
        """Return reconstruction and distance, for the clusters as they are."""
        z = model.embed(batch.x)
        own = model.head.centers[batch.take(members.labels)]
        return {
            "reconstruction": model.likelihood.nll(model.network.decode(z), batch.x).mean(),
            "distance": self.weight * 0.5 * (z - own).square().sum(1).mean(),
        }


class Members:
    """Which cluster each row is in, and how many codes every centre has had."""

    def __init__(self, labels: Int64[Tensor, " n"], counts: Float[Tensor, " k"]) -> None:
        self.labels = labels.clone()
        self.counts = counts.double()

    @torch.no_grad()
    def follow(self, model: DCNModel, batch: Batch, *, stay: bool = False) -> None:
        """Give the rows of a step to their nearest centres, unless they are to stay, and move those.

        Moving a centre by 1/c for one code after another makes it the mean of all that it has had.
        """
        centers = model.head.centers
        z, index = gathered(model.embed(batch.x).double()), gathered(batch.index).cpu()
        nearest = torch.cdist(z, centers.double()).argmin(1)
        if stay:
            nearest = self.labels[index].to(z.device)
        self.labels[index] = nearest.cpu()
        fresh = torch.bincount(nearest, minlength=len(centers)).cpu()
        sums = torch.zeros(centers.shape, dtype=torch.float64, device=z.device).index_add_(0, nearest, z).cpu()
        moved = (self.counts.unsqueeze(1) * centers.double().cpu() + sums) / (self.counts + fresh).unsqueeze(1)
        centers.copy_(moved)
        self.counts += fresh

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"labels": self.labels, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.labels, self.counts = state["labels"], state["counts"]


class DCNModel(GenerativePartitionModel):
    """An auto-encoder, and centres among its codes."""

    head: CenterHead

    @property
    def by_cluster(self) -> list[Tensor]:
        """Centres, and how many codes each has had."""
        return [self.head.centers, self.head.counts]


def _paper() -> dict[str, Any]:
    """Settings of the published program."""
    layer = Schedule(epochs=250, lr=1e-4, optimizer="sgd", batch_size=256)
    return {
        "network": MLP(),
        "likelihood": Gaussian(variance=1 / (2 * 5.1**2), learn=False, unit=True),
        "start": "kmeans",
        "hold": 0.0,
        "weight": 2.0,  # of half the square
        "pretrain": Stacked(layers=layer, fine_tune=layer, noise=0.0),
        "schedule": Schedule(epochs=50, lr=1e-4, optimizer="sgd", batch_size=256),
        "trainer": Trainer(precision="fp32"),
    }
