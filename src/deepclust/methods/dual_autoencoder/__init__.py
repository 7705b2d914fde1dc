r"""DSCDAN: spectral clustering on the codes of a dual auto-encoder, trained together.

Algorithm
---------
1. Pretrain encoder and decoder: reconstruct rows, let rows decoded from noisy codes agree with those from clean ones
   (relative reconstruction), keep codes near N(0, I), and let codes say much about their rows (eq. 6, 9).
2. Partition the codes; place the class means and train the class network to agree. (The published program starts here
   from a file of weights that nobody has.)
3. Train everything together (eq. 14): reconstructions as before, codes near the mean of their class, soft classes, and
   classes that cut few edges of the neighbour graph, orthonormal over a batch (eq. 11, 12).

A row belongs to its largest class; with ``output="tanh"`` to the centre nearest to its orthonormal outputs.

Symbols
-------
============================== ======================================== =====================
symbol                         meaning                                  name in code
============================== ======================================== =====================
:math:`x`                      row                                      ``x``
:math:`z, \hat z`              code, code with noise                    ``mean``, ``noisy``
:math:`x_z, x_{\hat z}`        rows decoded from them                   ``clean``, ``shaken``
:math:`T_1, T_2`               discriminators: whole row, places        ``whole``, ``part``
:math:`p(y|z)`                 classes                                  ``log_p``
:math:`\mu_k`                  class means                              ``means``
:math:`\beta, \gamma, \delta`  weights: information, prior, clean rows  see `Information`, `SpectralHead`, `Dual`
============================== ======================================== =====================

Deviations
----------
The discriminators are trained, as the paper says and its program does not. By default a linkage of the codes' graph
gives the first classes, and step 3 has three rounds: each takes the graph of the codes that the one before has left,
whose edges give the pairs of a step, and in its first half is led by the classes that the one before has left. Squared
errors count as shares of the rows' variance; a step's local discriminator looks at 16 places of the map; images are
shifted, turned and resized before every joint step. ``augment=None`` in the schedule is the plain method. Presets:
``"paper"`` has the paper's terms, ``"code2019"`` its first program (separate stages, k-means), ``"code2020"`` the last
(joint, largest class), each in one round, on the graph of a batch. False pairs take the code of the next row of the
batch, where the program shuffles. The published width of multiplicative noise is unknown.

References
----------
Yang, Deng, Zheng, Yan, Liu (2019), "Deep spectral clustering using dual autoencoder network", CVPR; equations are
numbered as restored from the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.base import AbstractDeepClusterer
from deepclust.data.augment import Affine
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Budget, Cosine, Phase, Schedule, Session, Trainer
from deepclust.guidance import Guide, find_start
from deepclust.methods.dual_autoencoder.model import Dual, DualModel, Information, SpectralHead
from deepclust.networks import MLP, AbstractNetwork, DoubleConv, Scaling, build_network
from deepclust.networks.likelihood import Gaussian, likelihood_scaling, make_likelihood
from deepclust.objectives.affinity import Affinity, batch_affinity, median_scale
from deepclust.objectives.gaussian import kl_to_components, reparameterise
from deepclust.objectives.one_step import class_cost
from deepclust.objectives.spectral import edge_cost, spectral_cost
from deepclust.params import Auto, ClusterCount, Count, RandomState
from deepclust.partition import kmeans, some_of
from deepclust.together import gathered
from deepclust.walks import graph_walks

__all__ = ["Dual", "DualAutoencoderSpectral", "DualModel", "Information", "SpectralHead"]

_PIXELS, _VALUES = Gaussian(learn=False, bounded=True), Gaussian(learn=False)


class DualAutoencoderSpectral(AbstractDeepClusterer):
    """Deep spectral clustering with a dual auto-encoder (DSCDAN).

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        ``"auto"`` (`DoubleConv` with a code of 120 values for images, fully connected for flat rows), a builder, or
        your own ``(encoder, decoder)`` modules.
    dual
        The reconstructions.
    information
        How much codes should say about rows.
    head
        The network that gives classes, and its losses.
    affinity
        The graph.
    guide
        What partitions the pretrained codes, and how that leads the class network; its ``pretrain`` is the schedule of
        the first phase.
    schedule
        Of the joint training.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one that reconstructs best is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.
    """

    presets: ClassVar = {
        "paper": lambda data: _paper(),
        "code2019": lambda data: _code2019(),
        "code2020": lambda data: _code2020(),
    }

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        dual: Dual = Dual(clean=130.0, relative=264.0, unit="variance"),
        information: Information = Information(),
        head: SpectralHead = SpectralHead(rounds=3, renew=True),
        affinity: Affinity = Affinity(neighbors=10, scale_neighbor=5, walk=1),
        guide: Guide = Guide(
            pretrain=Schedule(epochs=Budget(least_steps=1_000, most_steps=10_000), decay=Cosine(), clip_norm=5.0)
        ),
        schedule: Schedule = Schedule(
            epochs=Budget(passes=50, least_steps=500, most_steps=2_000),
            batch_size=512,
            decay=Cosine(),
            clip_norm=5.0,
            augment=Affine(rotation=15.0, scale=0.15, careful=True),
        ),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.dual = dual
        self.information = information
        self.head = head
        self.affinity = affinity
        self.guide = guide
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        return likelihood_scaling(_PIXELS if spec.is_image else _VALUES)

    def _build(self, spec: Spec) -> DualModel:
        default: AbstractNetwork = DoubleConv(latent=120) if spec.is_image else MLP()
        likelihood = make_likelihood(_PIXELS if spec.is_image else _VALUES, spec)
        autoencoder = build_network(self.network, default, likelihood.decoded(spec))
        return DualModel(autoencoder, likelihood, self.n_clusters, self.information, self.head)

    def _recipe(self, model: DualModel, session: Session) -> None:
        # 1. Pretrain the dual auto-encoder.
        unit = self.dual.unit_of(session.scaler.variance(session.rows))
        judges = model.discriminators if self.information.trained else []
        classes: list[Any] = [] if model.classifier is None else [model.classifier, model.means]
        session.train(
            Phase(
                name="pretrain",
                model=model,
                objective=lambda model, batch: self._terms(model, batch.x, unit, in_classes=not self.head.joint)[0],
                schedule=self.guide.pretrain,
                trains=[model.network, *classes, *judges],
                until=0.4,
                reconstruct=lambda x: model.row(model.embed(x)),
                shared=f"{self.dual!r}, {self.information!r}, unit {unit!r}" if self.head.joint else None,
                pretrains=True,
            )
        )
        # 2. Partition the codes; place class means and class networks.
        codes = session.map(model.embed, model)
        labels = find_start(session, model, codes, self.n_clusters, self.guide.start)
        if self.head.joint:
            model.start_at(codes, labels, self.guide.noise)
        # 3. Train everything together, or the map alone.
        if self.head.joint:
            self._settle(model, session, codes, labels)
            changed: list[Any] = [model.network, model.mapping, model.means, *judges]
            for number in range(self.head.rounds):
                if number:
                    codes = session.map(model.embed, model)
                    labels = self.head.renewed(session.map(model.assign, model)) if self.head.renew else labels
                self._cut(model, session, codes, changed, unit, labels, number)
        else:
            self._cut(model, session, codes, [model.mapping], unit)
        raw = session.map(lambda x: model.raw(model.embed(x)), model)
        model.last.fitted(raw)
        if model.centers is not None:
            y = model.last(raw).float()
            some = some_of(y, session.seed)
            found = session.once("kmeans", lambda: kmeans(some, self.n_clusters, seed=session.seed)._asdict())
            model.centers.place(found["centers"], found["labels"], found["inertia"])

    def _settle(
        self, model: DualModel, session: Session, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"]
    ) -> None:
        def agree(model: DualModel, batch: Batch) -> Mapping[str, Tensor]:
            return {"agree": F.nll_loss(model.log_classes(batch.take(codes)), batch.take(labels))}

        net = model.mapping if model.classifier is None else model.classifier
        if not model.is_tanh or model.classifier is not None:
            # Under a time limit it may go on into the rounds' time: classes that are not learned lead nowhere.
            session.train(
                Phase(name="settle", model=model, objective=agree, schedule=self.head.settle, trains=[net], until=0.75)
            )

    def _terms(
        self, model: DualModel, x: Tensor, unit: float = 1.0, *, in_classes: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """Return reconstructions, prior and information (eq. 6, 9, 13), clean codes, and where asked log classes."""
        rule = self.dual
        mean, log_var, h, middle = model.encode(x)
        if rule.noise == "additive":
            noisy = reparameterise(mean, log_var, torch.randn_like(mean))
        else:
            noisy = mean * (1 + rule.spread * torch.randn_like(mean))
        clean = model.row(mean)
        log_p = model.log_classes(mean) if in_classes else None
        terms = {"clean": rule.clean / unit * _squares(x, clean)}
        if rule.relative or rule.noisy:  # decoding is most of a step
            shaken = model.row(noisy)
            terms["relative"] = rule.relative / unit * _squares(clean, shaken)
            if rule.noisy:
                terms["noisy"] = rule.noisy / unit * _squares(x, shaken)
        if self.information.weight:
            terms["information"] = self.information.weight * model.information(h, middle, noisy)
        if log_p is not None:
            kl = kl_to_components(mean, log_var, model.means, torch.zeros_like(model.means))
            terms["prior"] = self.head.prior * (log_p.exp() * kl).sum(1).mean()
            terms["classes"] = self.head.entropy * class_cost(log_p).mean()
        else:
            standard = torch.zeros(1, mean.shape[1], device=mean.device)
            terms["prior"] = kl_to_components(mean, log_var, standard, standard).mean()
        return terms, mean, log_p

    def _cut(
        self,
        model: DualModel,
        session: Session,
        codes: Float[Tensor, "n d"],
        changed: list[Any],
        unit: float,
        labels: Int64[Tensor, " n"] | None = None,
        number: int = 0,
    ) -> None:
        """Train what is to change by the graph, and jointly by all other terms."""
        scale, sampler, rounds = None, None, self.head.rounds if self.head.joint else 1
        mark = "" if rounds == 1 else f"-{number + 1}"
        if self.affinity.scope == "data":
            sampler = graph_walks(session, codes, self.affinity, f"graph{mark}")
        elif self.affinity.scale == "median":
            scale = session.once(f"scale{mark}", lambda: {"scale": self._scale(codes, session)})["scale"]

        def loss(model: DualModel, batch: Batch) -> Mapping[str, Tensor]:
            if labels is None:
                mean = batch.take(codes)
                terms: dict[str, Tensor] = {}
            else:
                terms, mean, log_p = self._terms(model, batch.x, unit, in_classes=True)
                terms["guide"] = self.guide.cost(log_p, batch, labels)  # type: ignore[arg-type]
            # Where one network gives both, the classes of the terms above are what is made orthonormal.
            shared = labels is not None and model.classifier is None and not model.is_tanh
            raw = gathered(log_p.exp() if shared else model.raw(mean))  # type: ignore[union-attr]
            y = raw.double() @ model.last.fitted(raw)
            if sampler is None:
                cost = spectral_cost(y, batch_affinity(gathered(mean), self.affinity, scale))
            else:
                left, right = y.tensor_split(2)
                cost = edge_cost(left[: len(right)], right[: len(left)])
            return {**terms, "cut": (self.head.weight * cost).float()}

        session.train(
            Phase(
                name=f"cluster{mark}",
                model=model,
                objective=loss,
                schedule=self.schedule,
                trains=changed,
                sampler=sampler,
                clusters=labels is not None and not model.is_tanh,
                until=0.45 + 0.55 * (number + 1) / rounds,
            )
        )

    def _scale(self, codes: Float[Tensor, "n d"], session: Session) -> float:
        size = min(len(codes), self.schedule.batch_size or self.trainer.batch_size)
        some = codes[torch.randperm(len(codes), generator=torch.Generator().manual_seed(session.seed))[:size]].double()
        return median_scale(torch.cdist(some, some), self.affinity)


def _squares(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    """Squared error summed over values, mean over rows."""
    return (a - b).square().flatten(1).sum(1).mean()


def _paper() -> dict[str, Any]:
    """The paper's terms; steps and batch are those of its program."""
    return {
        "network": DoubleConv(latent=120),
        "dual": Dual(clean=0.5, relative=1.0, noise="multiplicative"),
        "information": Information(weight=0.01, places=None),
        "head": SpectralHead(weight=2 / 1024),
        "affinity": Affinity(scope="batch", neighbors=3, counts_self=True, scale_neighbor=2),
        "guide": Guide(start="kmeans", hold=0.0, pretrain=Schedule(epochs=100, batch_size=100)),
        "schedule": Schedule(epochs=500, steps=10, batch_size=1024),
        "trainer": Trainer(precision="fp32"),
    }


def _code2020() -> dict[str, Any]:
    """Settings of the last program; its discriminators stay as they were drawn."""
    return {
        **_paper(),
        "dual": Dual(clean=0.0, noisy=5.0, relative=2.5),
        "information": Information(weight=0.001, local=False, trained=False),
        "head": SpectralHead(weight=2.0, prior=1.5),
        "affinity": Affinity(scope="batch", neighbors=5, counts_self=True, scale=2.62),
    }


def _code2019() -> dict[str, Any]:
    """Settings of the first program: codes, then a map of them, then k-means."""
    return {
        **_paper(),
        "dual": Dual(clean=2.5, relative=5.0),
        "information": Information(weight=0.01, local=False, trained=False),
        "head": SpectralHead(output="tanh", weight=1.0, joint=False),
        "schedule": Schedule(epochs=400, steps=100, batch_size=1024),
    }
