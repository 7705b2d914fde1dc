r"""DEPICT: a soft-max layer on a convolutional auto-encoder, with a noisy pathway that learns from a clean one.

Algorithm
---------
1. Pretrain the auto-encoder: the noisy pathway's code must give back the input and the clean pathway's layers.
2. Partition the clean codes; the soft-max layer's weights become the directions of their means.
3. Train everything on these clusters, until the soft-max layer agrees with them.
4. Every epoch assign all rows by the clean pathway and make balanced targets of the assignment (eq. 6); train the noisy
   pathway towards them, and reconstruct as before. Stop when hardly a label has changed.

A row belongs to the largest output of the clean soft-max.

Symbols
-------
======================= ========================================== ===================
symbol                  meaning                                    name in code
======================= ========================================== ===================
:math:`z^l`             clean activations                          ``clean``
:math:`\tilde z^l`      noisy activations                          ``code``
:math:`\hat z^l`        reconstructions, from the noisy code       ``z_hat``
:math:`p, \tilde p`     soft-max of the clean and noisy pathway    ``p``, ``log_p``
:math:`q`               target                                     ``targets.p``
:math:`u`               expected shares of the clusters            ``prior``
======================= ========================================== ===================

Deviations
----------
One noisy pass a step serves both losses; the released program draws noise anew for each. Clean activations are
constants in the reconstruction of layers, unless ``Pathways(detach=False)``: in the program they are not, which can
shrink them. Assignments are recomputed for all rows each epoch; the program keeps those seen on the way, and
normalises rows that no batch held a second time. Its splits by true labels and its shifted labels are not copied;
phases have budgets in place of its stopping on a held-out part. The default start is a linkage of codes and rows, of
five with fewer or more neighbours the one whose sizes are nearest to the expected shares; the program takes
path-integral linkage for some data sets and k-means for others. Where the partition moves on and on in step 4, away
from the expected shares, the model goes back to the end of step 3 and keeps to the start. Images are shifted and turned
a little before every step but those of the pretraining; targets are made of them as they are. Weights start by He's
rule in place of Glorot's. Preset ``"article"`` is the small variant of a Chinese article, from scratch and with targets
of each batch, corrected; ``Balance(as_written=True)`` brings its faults back. The article gives neither rate nor
epochs.

References
----------
Dizaji, Herandi, Deng, Cai, Huang (2017), "Deep clustering via joint convolutional autoencoder embedding and relative
entropy minimization", ICCV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Budget, Cosine, Phase, Schedule, Session, Trainer
from deepclust.errors import InvalidParameterError
from deepclust.guidance import find_start
from deepclust.model import AbstractDecodingModel
from deepclust.networks import MLP, AbstractNetwork, Narrow, Scaling, Strided, build_network
from deepclust.networks.autoencoder import Autoencoder, initialise
from deepclust.networks.precision import full_precision
from deepclust.objectives.balanced import Kind, balanced
from deepclust.params import (
    ADDED,
    AbstractParameters,
    Auto,
    ClusterCount,
    Count,
    NonNegativeFloat,
    PositiveFloat,
    RandomState,
    ShareBelowOne,
)
from deepclust.partition import Start, diagonal_moments
from deepclust.targets import Held, Refresh, Targets
from deepclust.together import gathered, own

_Stages = Sequence[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]


@dataclass(frozen=True, repr=False)
class Pathways(AbstractParameters):
    """How the noisy pathway learns from the clean one.

    Parameters
    ----------
    noise
        Share of the values dropped from the input and from all layers but the last two.
    hidden
        Weight of the reconstruction of each hidden layer, beside one for the input; the released program's, where the
        paper gives all the same.
    detach
        Let no gradient flow into the clean activations that are reconstructed.
    output
        Loss of the input's reconstruction: ``"squares"``, for a network whose output is a tanh, or ``"bernoulli"``, for
        one that gives logits of values in [0, 1].
    """

    noise: ShareBelowOne = 0.1
    hidden: NonNegativeFloat = 0.1
    detach: bool = True
    output: Literal["squares", "bernoulli"] = field(default="squares", metadata=ADDED)


@dataclass(frozen=True, repr=False)
class Balance(AbstractParameters):
    """The targets.

    Parameters
    ----------
    kind
        ``"paper"``, ``"code"`` (the released program's, which is DEC's) or ``"exact"``; see
        `deepclust.objectives.balanced`.
    prior
        Expected share of every cluster; None is uniform. It need not sum to one. It chooses among starts, too.
    scope
        What is balanced: ``"all"`` rows, once a refresh, or those of each ``"batch"``.
    as_written
        With the faults of the article's program, batches alone: targets normalised over rows instead of clusters, no
        constants, and their cross-entropy divided by the number of clusters again.
    """

    kind: Kind = "code"
    prior: tuple[PositiveFloat, ...] | None = None
    scope: Literal["all", "batch"] = field(default="all", metadata=ADDED)
    as_written: bool = field(default=False, metadata=ADDED)

    def shares(self, k: int) -> Float[Tensor, " k"]:
        """Return the prior."""
        if self.prior is None:
            return torch.full((k,), 1 / k)
        if len(self.prior) != k:
            raise InvalidParameterError(
                f"The 'prior' of Balance must name a share for each of {k} clusters. Got {len(self.prior)}."
            )
        return torch.tensor(self.prior) / sum(self.prior)


class DEPICT(AbstractDeepClusterer):
    """Deep embedded regularised clustering.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        ``"auto"`` (`Strided` with a code of as many dimensions as clusters for images, fully connected for flat rows),
        a builder, or your own ``(encoder, decoder)`` modules, which count as one layer.
    pathways
        How the noisy pathway learns from the clean one.
    balance
        The targets.
    start
        What partitions the pretrained codes, see `deepclust.partition.start`; None begins at random with clustering.
    refresh
        When clustering has arrived; targets are made anew every pass unless ``steps`` says otherwise.
    pretrain, settle, schedule
        Schedules of the three phases: auto-encoder, agreement with the start, clustering.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one with the most certain assignments is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.
    """

    presets: ClassVar = {
        "paper": lambda data: _paper("paper", 1.0, data),
        "code": lambda data: _paper("code", 0.1, data),
        "article": lambda data: _article(),
    }

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        pathways: Pathways = Pathways(),
        balance: Balance = Balance(),
        start: Start | None = "linkage+rows",
        refresh: Refresh = Refresh(tolerance=0.0, target_tolerance=1e-7, drift=0.02),
        pretrain: Schedule = Schedule(decay=Cosine()),
        settle: Schedule = Schedule(epochs=Budget(passes=20, least_steps=500, most_steps=6_000), augment="auto"),
        schedule: Schedule = Schedule(lr=3e-4, decay=Cosine(), clip_norm=5.0, augment="auto"),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.pathways = pathways
        self.balance = balance
        self.start = start
        self.refresh = refresh
        self.pretrain = pretrain
        self.settle = settle
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        if self.pathways.output == "bernoulli":
            return "unit"
        return "symmetric" if spec.is_image else "standard"

    def _build(self, spec: Spec) -> DEPICTModel:
        default: AbstractNetwork = Strided(latent=self.n_clusters) if spec.is_image else MLP()
        return DEPICTModel(build_network(self.network, default, spec), self.n_clusters, self.pathways)

    def _check(self, spec: Spec) -> None:
        self.balance.shares(self.n_clusters)

    def _recipe(self, model: DEPICTModel, session: Session) -> None:
        sure = None if self.start is None else self._begin(model, session, self.start)
        # 4. Approach balanced targets.
        prior = self.balance.shares(self.n_clusters)
        if self.balance.scope == "batch":
            loss = lambda model, batch: self._batch_loss(model, batch, prior)  # noqa: E731
            session.train(Phase("cluster", model, loss, self.schedule, trains=[model]))
            return
        steps, schedule = self.refresh.steps, self.schedule
        if not isinstance(steps, str):
            schedule = schedule(steps=steps)
        per_epoch = schedule.steps_per_epoch(len(session.rows), schedule.batch_size or self.trainer.batch_size)
        held = None if sure is None else Held(sure, 0, schedule.total_epochs(per_epoch), prior)
        targets = session.keep("targets", self._targets(model, session, self.refresh, held))
        self._approach("cluster", model, session, schedule, targets)

    def _update(self, model: DEPICTModel, session: Session, schedule: Schedule) -> None:
        targets = self._targets(model, session, Refresh(tolerance=0.0), None)
        self._approach("update", model, session, schedule, targets)

    def _targets(self, model: DEPICTModel, session: Session, refresh: Refresh, held: Held | None) -> Targets:
        prior = self.balance.shares(self.n_clusters)
        return Targets(session, model, lambda p: balanced(p, prior, self.balance.kind), refresh, held)

    def _approach(self, name: str, model: DEPICTModel, session: Session, schedule: Schedule, targets: Targets) -> None:
        session.train(
            Phase(
                name=name,
                model=model,
                objective=lambda model, batch: self._loss(model, batch, targets.of(batch)),
                schedule=schedule,
                trains=[model],
                before_epoch=targets.refresh,
                clusters=True,
            )
        )

    def _begin(self, model: DEPICTModel, session: Session, start: Start) -> Float[Tensor, "n k"]:
        # 1. Pretrain the auto-encoder.
        session.train(
            Phase(
                name="pretrain",
                model=model,
                objective=lambda model, batch: model.reconstruction(batch.x, self.pathways)[0],
                schedule=self.pretrain,
                trains=[model.network],
                until=0.5,
                reconstruct=lambda x: model.decode(model.embed(x)),
                pretrains=True,
            )
        )
        # 2. Partition the clean codes, and turn the soft-max layer to the clusters.
        codes = session.map(model.embed, model)
        prior = self.balance.shares(self.n_clusters)
        labels = find_start(session, model, codes, self.n_clusters, start, prior)
        model.turn_to(diagonal_moments(codes, labels, self.n_clusters).means.float())
        # 3. Agree with them.
        sure = F.one_hot(labels, self.n_clusters).float()
        session.train(
            Phase(
                name="settle",
                model=model,
                objective=lambda model, batch: self._loss(model, batch, batch.take(sure)),
                schedule=self.settle,
                trains=[model],
                until=0.6,
            )
        )
        return sure

    def _loss(self, model: DEPICTModel, batch: Batch, q: Float[Tensor, "b k"]) -> Mapping[str, Tensor]:
        """Return cross-entropy of the noisy soft-max with the targets, and reconstructions."""
        terms, code = model.reconstruction(batch.x, self.pathways)
        return {"cross_entropy": -(q * model.log_assign(code)).sum(1).mean(), **terms}

    def _batch_loss(self, model: DEPICTModel, batch: Batch, prior: Float[Tensor, " k"]) -> Mapping[str, Tensor]:
        """Return the same with targets made of the batch's own clean soft-max."""
        p = gathered(model.log_assign(model.embed(batch.x)).exp())
        prior = prior.to(p.device)
        if not self.balance.as_written:
            return self._loss(model, batch, own(balanced(p.detach(), prior, self.balance.kind)))
        weight = p / p.sum(0, keepdim=True).sqrt()
        terms = self._loss(model, batch, own(weight / weight.sum(0, keepdim=True)))
        return {**terms, "cross_entropy": terms["cross_entropy"] / self.n_clusters}


class DEPICTModel(AbstractDecodingModel):
    """A staged auto-encoder and a soft-max layer."""

    def __init__(self, autoencoder: Autoencoder, k: int, pathways: Pathways) -> None:
        super().__init__()
        self.network = autoencoder
        self.is_bernoulli = pathways.output == "bernoulli"
        self.softmax = nn.Linear(autoencoder.latent, k)
        self.softmax.apply(initialise)

    def reconstruction(
        self, x: Float[Tensor, "b *shape"], pathways: Pathways
    ) -> tuple[dict[str, Tensor], Float[Tensor, "b d"]]:
        """Return the losses of input and hidden layers, and the noisy code that they start from."""
        stages: _Stages = self.network.stages or ((self.network.embed, self.network.decode),)
        clean, code = [x], F.dropout(x, pathways.noise)
        for number, (encode, _) in enumerate(stages):
            if number < len(stages) - 1 and pathways.hidden:
                clean.append(encode(clean[-1]))
            code = encode(code)
            if number < len(stages) - 2:
                code = F.dropout(code, pathways.noise)
        z_hat = code
        hidden = torch.zeros((), device=x.device)
        for number in range(len(stages) - 1, -1, -1):
            z_hat = stages[number][1](z_hat)
            if number and pathways.hidden:
                target = clean[number].detach() if pathways.detach else clean[number]
                hidden = hidden + F.mse_loss(z_hat.float(), target.float())
        loss = F.binary_cross_entropy_with_logits if self.is_bernoulli else F.mse_loss
        return {"input": loss(z_hat.float(), x), "hidden": pathways.hidden * hidden}, code.float()

    @torch.no_grad()
    def turn_to(self, means: Float[Tensor, "k d"]) -> None:
        """Make the soft-max layer's weights the directions of these means."""
        self.softmax.weight.copy_(F.normalize(means, dim=1))
        self.softmax.bias.zero_()

    @property
    def by_cluster(self) -> list[Tensor]:
        """The soft-max layer."""
        return [self.softmax.weight, self.softmax.bias]

    def log_assign(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the log of the soft-max."""
        with full_precision(z):
            return torch.log_softmax(self.softmax(z.float()), dim=1)

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return clean codes."""
        return self.network.embed(x)

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the clean soft-max."""
        return self.log_assign(self.embed(x)).exp()

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return minus the mean squared error of the reconstruction."""
        return -(self.decode(self.embed(x)) - x).square().flatten(1).mean(1)

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the row of every code."""
        x_hat = self.network.decode(z)
        return torch.sigmoid(x_hat) if self.is_bernoulli else x_hat


def _paper(kind: Kind, hidden: float, data: str | None) -> dict[str, Any]:
    """Settings of the paper or of the released program; its phases end when a held-out part no longer improves."""
    return {
        "network": Strided(latent=68 if data == "cmu-pie" else 10, init="glorot"),
        "pathways": Pathways(hidden=hidden, detach=kind == "paper"),
        "balance": Balance(kind=kind),
        "start": "path" if data in ("mnist-test", "usps") else "kmeans",
        "refresh": Refresh(tolerance=0.0, target_tolerance=1e-7),
        "pretrain": Schedule(epochs=1000, lr=1e-4, batch_size=100),
        "settle": Schedule(epochs=30, lr=1e-4, batch_size=100),
        "schedule": Schedule(epochs=4000, lr=1e-4, batch_size=100),
        "trainer": Trainer(precision="fp32"),
    }


def _article() -> dict[str, Any]:
    """The small variant, corrected: normalised over clusters, constant targets, the batch's mean cross-entropy."""
    return {
        "network": Narrow(),
        "pathways": Pathways(noise=0.0, hidden=0.8, detach=False, output="bernoulli"),
        "balance": Balance(kind="paper", scope="batch"),
        "start": None,
        "schedule": Schedule(),
    }
