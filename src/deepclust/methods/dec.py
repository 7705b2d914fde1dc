r"""DEC and IDEC: codes are drawn to centres by targets that sharpen the model's own assignment.

Algorithm
---------
1. Pretrain an auto-encoder, layer by layer or end to end.
2. Place the centres by a partition of the codes of all rows.
3. Every T steps assign all rows (eq. 1) and make targets of the assignment (eq. 3); stop when hardly a label has
   changed. Between, reduce the divergence from the targets (eq. 2), over encoder and centres. IDEC keeps the decoder
   and adds the reconstruction, to keep the codes from being bent out of shape.

A row belongs to the centre to which its soft assignment is largest: the nearest.

Symbols
-------
=================== ================================= ==================
symbol              meaning                           name in code
=================== ================================= ==================
:math:`z_i`         code                              ``z``
:math:`\mu_j`       centre                            ``centers``
:math:`q_{ij}`      soft assignment                   ``log_q``
:math:`p_{ij}`      target                            ``targets.p``
:math:`\gamma`      weight of the divergence in IDEC  ``weight``
=================== ================================= ==================

Deviations
----------
By default the centres are the means of a linkage of the graph of codes and rows, not of k-means; its clusters are not
round, so they themselves are the targets of the first fifth of the phase, until the codes have become so; and again
where the partition, once let go, moves on and on, as it does between classes that no valley parts. Images get a
convolutional network (DCEC is `IDEC` with `Halving`); rows are shuffled; the optimiser is Adam with a falling rate,
since the published rates belong to one scale of the data and one normalisation of the loss. Reconstruction is the
likelihood of VaDE, summed over values. While clustering, images are shifted and turned a little before every step;
targets are made of them as they are. Presets ``"paper"`` have the published settings, with the loss summed over
values, mean over rows, as the original program has it (IDEC: mean over values); values are scaled to [0, 1], where
DEC's program has MNIST in [0, 5.1]. DEC's initial weights are Glorot's, not its own.

References
----------
Xie, Girshick, Farhadi (2016), "Unsupervised deep embedding for clustering analysis", ICML. Guo, Gao, Liu, Yin (2017),
"Improved deep embedded clustering with local structure preservation", IJCAI. Guo, Liu, Zhu, Yin (2017), "Deep
clustering with convolutional autoencoders", ICONIP.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Cosine, Decay, Phase, Schedule, Session, Trainer
from deepclust.guidance import find_start
from deepclust.model import AbstractClusterModel, AbstractDecodingModel
from deepclust.networks import MLP, AbstractNetwork, Conv, Scaling, build_network
from deepclust.networks.autoencoder import Autoencoder
from deepclust.networks.likelihood import (
    AbstractLikelihood,
    Gaussian,
    Likelihood,
    likelihood_scaling,
    make_likelihood,
    resolve_likelihood,
)
from deepclust.objectives.student import divergence_from_targets, log_student, sharpened
from deepclust.params import Auto, ClusterCount, Count, PositiveFloat, RandomState, Share
from deepclust.partition import Start, diagonal_moments
from deepclust.pretraining import Stacked, pretrain
from deepclust.targets import Held, Refresh, Targets

_REFRESH = Refresh(drift=0.02)
_FINE = Schedule(decay=Cosine(), clip_norm=5.0, augment="auto")


class _Embedded(AbstractDeepClusterer):
    """What DEC and IDEC share."""

    network: Any
    likelihood: Likelihood
    start: Start
    hold: float
    refresh: Refresh
    pretrain: Schedule | Stacked
    schedule: Schedule
    _model_class: ClassVar[type[EmbeddedModel]]

    @abstractmethod
    def _trains(self, model: EmbeddedModel) -> Sequence[nn.Module | nn.Parameter]:
        """Say what changes while clustering."""

    @abstractmethod
    def _loss(self, model: EmbeddedModel, batch: Batch, targets: Targets) -> Mapping[str, Tensor]:
        """Return the terms."""

    def _scaling(self, spec: Spec) -> Scaling:
        return likelihood_scaling(resolve_likelihood(self.likelihood, spec, type(self).__name__))

    def _build(self, spec: Spec) -> EmbeddedModel:
        default: AbstractNetwork = Conv() if spec.is_image else MLP()
        likelihood = make_likelihood(resolve_likelihood(self.likelihood, spec, type(self).__name__), spec)
        autoencoder = build_network(self.network, default, likelihood.decoded(spec))
        return self._model_class(autoencoder, likelihood, self.n_clusters)

    def _recipe(self, model: EmbeddedModel, session: Session) -> None:
        # 1. Pretrain an auto-encoder.
        pretrain(session, model, model.network, model.likelihood, self.pretrain, until=0.5)
        # 2. Place the centres.
        codes = session.map(model.embed, model)
        labels = find_start(session, model, codes, self.n_clusters, self.start)
        with torch.no_grad():
            model.centers.copy_(diagonal_moments(codes, labels, self.n_clusters).means)
        # 3. Refresh targets, approach them.
        steps = self.refresh.resolved(len(session.rows), self.schedule.batch_size or self.trainer.batch_size)
        schedule = self.schedule(steps=steps)
        total = schedule.total_epochs(steps)
        leads = round(self.hold * total)
        held = Held(F.one_hot(labels, self.n_clusters).float(), leads, total) if leads else None
        targets = session.keep("targets", Targets(session, model, sharpened, self.refresh, held))
        self._approach("cluster", model, session, schedule, targets)

    def _update(self, model: EmbeddedModel, session: Session, schedule: Schedule) -> None:
        self._approach("update", model, session, schedule, Targets(session, model, sharpened, Refresh(tolerance=0.0)))

    def _approach(
        self, name: str, model: EmbeddedModel, session: Session, schedule: Schedule, targets: Targets
    ) -> None:
        session.train(
            Phase(
                name=name,
                model=model,
                objective=lambda model, batch: self._loss(model, batch, targets),
                schedule=schedule,
                trains=self._trains(model),
                before_epoch=targets.refresh,
                clusters=True,
            )
        )


class EmbeddedModel(AbstractClusterModel):
    """An auto-encoder, and centres among its codes; the decoder serves the pretraining alone."""

    def __init__(self, autoencoder: Autoencoder, likelihood: AbstractLikelihood, k: int) -> None:
        super().__init__()
        self.network = autoencoder
        self.likelihood = likelihood
        self.centers = nn.Parameter(torch.zeros(k, autoencoder.latent))

    def log_assign(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the log of the soft assignment, eq. 1."""
        return log_student(z.float(), self.centers)

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return codes."""
        return self.network.embed(x)

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the soft assignment."""
        return self.log_assign(self.embed(x)).exp()

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return minus the squared distance to the nearest centre."""
        z = self.embed(x)
        return -(z.unsqueeze(1) - self.centers).square().sum(-1).amin(1)

    @property
    def by_cluster(self) -> list[Tensor]:
        """Centres."""
        return [self.centers]

    def reseed(self, cluster: int, z: Float[Tensor, " d"]) -> bool:
        """Place a centre at a code."""
        with torch.no_grad():
            self.centers[cluster] = z
        return True


class DecodingEmbeddedModel(EmbeddedModel, AbstractDecodingModel):
    """One whose decoder stays in step with its encoder."""

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of every code."""
        return self.likelihood.mean(self.network.decode(z))


class DEC(_Embedded):
    """Deep embedded clustering.

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
        Share of the clustering phase in which the start's clusters themselves are the targets.
    refresh
        When targets are made anew, and when clustering has arrived.
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

    presets: ClassVar = {"paper": lambda data: _dec_paper(data)}
    _model_class: ClassVar = EmbeddedModel

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        likelihood: Likelihood = "auto",
        start: Start = "linkage+rows",
        hold: Share = 0.2,
        refresh: Refresh = _REFRESH,
        pretrain: Schedule | Stacked = Schedule(decay=Cosine()),
        schedule: Schedule = _FINE,
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
        self.refresh = refresh
        self.pretrain = pretrain
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _trains(self, model: EmbeddedModel) -> Sequence[nn.Module | nn.Parameter]:
        return [model.network.encoder, model.network.head, model.centers]

    def _loss(self, model: EmbeddedModel, batch: Batch, targets: Targets) -> Mapping[str, Tensor]:
        log_q = model.log_assign(model.embed(batch.x))
        return {"divergence": divergence_from_targets(targets.of(batch), log_q).mean()}


class IDEC(_Embedded):
    """Improved deep embedded clustering: DEC that keeps its decoder.

    Parameters
    ----------
    n_clusters, network, likelihood, start, hold, refresh, pretrain, schedule
        As in `DEC`.
    trainer, n_init, channels, random_state
        As in `DEC`.
    weight
        Of the divergence from the targets, beside a reconstruction of weight one.
    """

    presets: ClassVar = {"paper": lambda data: _idec_paper(data)}
    _model_class: ClassVar = DecodingEmbeddedModel

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        likelihood: Likelihood = "auto",
        start: Start = "linkage+rows",
        hold: Share = 0.2,
        refresh: Refresh = _REFRESH,
        weight: PositiveFloat = 100.0,
        pretrain: Schedule | Stacked = Schedule(decay=Cosine()),
        schedule: Schedule = _FINE,
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
        self.refresh = refresh
        self.weight = weight
        self.pretrain = pretrain
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _trains(self, model: EmbeddedModel) -> Sequence[nn.Module | nn.Parameter]:
        return [model.network, model.likelihood, model.centers]

    def _loss(self, model: EmbeddedModel, batch: Batch, targets: Targets) -> Mapping[str, Tensor]:
        z = model.embed(batch.x)
        divergence = divergence_from_targets(targets.of(batch), model.log_assign(z))
        x_hat = model.network.decode(z)
        return {
            "reconstruction": model.likelihood.nll(x_hat, batch.x).mean(),
            "divergence": self.weight * divergence.mean(),
        }


_HALF_SQUARES = Gaussian(learn=False, unit=True)  # half the squared error, summed over values in [0, 1]
_VALUES = {"usps": 256, "reuters-10k": 2_000}  # in a row; 784 elsewhere


def _dec_paper(data: str | None) -> dict[str, Any]:
    """Settings of the paper and its program; steps are counted as there."""
    layer = Schedule(epochs=50, steps=1000, lr=0.1, optimizer="sgd", batch_size=256)
    whole = Schedule(epochs=100, steps=1000, lr=0.1, optimizer="sgd", batch_size=256, decay=Decay(factor=0.1, every=20))
    refresh = {"stl": 40, "reuters": 20}.get(data or "mnist", 160)
    return {
        "network": MLP(),
        "likelihood": _HALF_SQUARES,
        "start": "kmeans",
        "hold": 0.0,
        "refresh": Refresh(steps=refresh),
        "pretrain": Stacked(layers=layer, fine_tune=whole),
        "schedule": Schedule(epochs=20_000 // refresh, lr=0.01, optimizer="sgd", batch_size=256),
        "trainer": Trainer(precision="fp32"),
    }


def _idec_paper(data: str | None) -> dict[str, Any]:
    """Settings of the paper and its program, on the mean squared error of the values."""
    adam = data in (None, "mnist", "mnist-test", "fashion-mnist")
    refresh = {"usps": 30, "reuters-10k": 3}.get(data or "mnist", 140)
    fine = (
        Schedule(epochs=-(-20_000 // refresh), lr=1e-3)
        if adam
        else Schedule(epochs=-(-20_000 // refresh), lr=0.1, optimizer="sgd", momentum=0.99)
    )
    # A variance of half the number of values makes the likelihood their mean squared error, beside which 0.1 counts.
    values = _VALUES.get(data or "mnist", 784)
    return {
        **_dec_paper(data),
        "likelihood": Gaussian(variance=values / 2, learn=False, unit=True),
        "refresh": Refresh(steps=refresh),
        "weight": 0.1,
        "schedule": fine(batch_size=256),
    }
