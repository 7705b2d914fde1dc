r"""GMVAE: variational auto-encoders with a class as one of their hidden variables, in four published forms.

Algorithm
---------
1. (`Guide`, not in the publications) Pretrain encoder and decoder as an auto-encoder, partition its codes, place the
   components.
2. Train all networks together by the form's bound: `Style` (Dilokthanakul et al., two versions), `Marginal` (Shu) or
   `Gumbel` (Arias Figueroa).

A row belongs to the class that q(y|x), or in the second version of `Style` the exact posterior p(y|z,w), gives it.

Symbols
-------
====================== ==================================== ====================
symbol                 meaning                              name in code
====================== ==================================== ====================
:math:`x`              row                                  ``x``
:math:`z`              code                                 ``z``
:math:`w`              style                                ``w``
:math:`y`              class, one of K                      ``y``
:math:`q(y|x)`         classes of a row                     ``log_q``
:math:`\mu_y,\sigma_y` components, of style or class        ``means``, ``log_vars``
:math:`\eta, \alpha`   weights of prior and consistency     ``prior``, ``consistency``
====================== ==================================== ====================

Deviations
----------
By default a partition of an auto-encoder's codes leads the classes for the first half of the training (`Guide`);
presets leave it out. Losses are averaged over the batch, where Dilokthanakul's program sums. The published second
version's program negates accumulated gradients in place and so turns the sign of one term; ours does not. Where a
network takes images or is the user's own, the class joins its features; fully connected ones take it beside the row, as
published. Dilokthanakul's presets are the fully connected program; `Normed` is the network of the convolutional one.
Shu's program draws pixels black and white when it evaluates too; ours evaluates rows as they are, so that a row always
gets the same answer.

References
----------
Dilokthanakul et al. (2016), "Deep unsupervised clustering with Gaussian mixture variational autoencoders".
Shu (2016), vae-clustering. Arias Figueroa (2018), GMVAE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Int64
from torch import Tensor, nn

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Cosine, Phase, Schedule, Session, Trainer
from deepclust.guidance import Guide
from deepclust.methods.gmvae.form import AbstractForm, AbstractGMVAEModel, PlainCode
from deepclust.methods.gmvae.label import Gumbel, LabelModel, Marginal
from deepclust.methods.gmvae.style import Style, StyleModel
from deepclust.networks import MLP, AbstractNetwork, Conv, Scaling
from deepclust.networks.likelihood import Likelihood, likelihood_scaling, make_likelihood, resolve_likelihood
from deepclust.params import Auto, ClusterCount, Count, RandomState

__all__ = ["GMVAE", "Gumbel", "LabelModel", "Marginal", "Style", "StyleModel"]


class GMVAE(AbstractDeepClusterer):
    """Gaussian-mixture VAE: clusters rows, and generates new members of each class.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    form
        The published objective: `Style`, `Marginal` or `Gumbel`.
    network
        ``"auto"`` (convolutional for images, fully connected for flat rows), a builder, or your own
        ``(encoder, decoder)`` modules.
    likelihood
        As in `VaDE`.
    guide
        How a partition found beforehand leads the classes; None starts at random, as published.
    schedule
        Of the training.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one with the highest bound is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.
    """

    presets: ClassVar = {
        "dilokthanakul-v1": lambda data: _dilokthanakul(1),
        "dilokthanakul-v2": lambda data: _dilokthanakul(2),
        "shu": lambda data: _shu(),
        "gumbel": lambda data: _gumbel(),
    }

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        form: AbstractForm = Style(),
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        likelihood: Likelihood = "auto",
        guide: Guide | None = Guide(),
        schedule: Schedule = Schedule(decay=Cosine(), clip_norm=5.0),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.form = form
        self.network = network
        self.likelihood = likelihood
        self.guide = guide
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        return likelihood_scaling(resolve_likelihood(self.likelihood, spec, "GMVAE"))

    def _build(self, spec: Spec) -> AbstractGMVAEModel:
        default: AbstractNetwork = Conv() if spec.is_image else MLP()
        network = default if isinstance(self.network, str) else self.network
        likelihood = make_likelihood(resolve_likelihood(self.likelihood, spec, "GMVAE"), spec)
        return self.form.build(network, likelihood.decoded(spec), likelihood, self.n_clusters)

    def _recipe(self, model: AbstractGMVAEModel, session: Session) -> None:
        # 1. Find a partition to start from.
        labels = None
        if self.guide is not None:
            labels = self.guide.find(session, model, PlainCode(model), model.encode_plain, self.n_clusters)
        # 2. Train everything together.
        session.train(
            Phase(
                name="cluster",
                model=model,
                objective=lambda model, batch: self._loss(model, batch, labels),
                schedule=self.schedule,
                trains=[model],
            )
        )

    def _update(self, model: AbstractGMVAEModel, session: Session, schedule: Schedule) -> None:
        loss = lambda model, batch: self._loss(model, batch.settled, None)  # noqa: E731
        session.train(Phase("update", model, loss, schedule, trains=[model]))

    def _loss(
        self, model: AbstractGMVAEModel, batch: Batch, labels: Int64[Tensor, " n"] | None
    ) -> Mapping[str, Tensor]:
        """Return the form's terms, and what leads the classes."""
        terms, log_q = self.form.loss(model, batch, 1.0 if self.guide is None else self.guide.weight(batch))
        if self.guide is None:
            return terms
        return {**terms, "guide": self.guide.cost(log_q, batch, labels)}


def _dilokthanakul(version: int) -> dict[str, Any]:
    """The fully connected program of the publication, on MNIST; the weight of its sums is that of our means."""
    return {
        "form": Style(version=version, style=150),  # type: ignore[arg-type]
        "network": MLP(hidden=(500, 500), latent=200, norm=True),
        "guide": None,
        "schedule": Schedule(epochs=100, lr=1e-4, batch_size=50),
        "trainer": Trainer(precision="fp32"),
    }


def _shu() -> dict[str, Any]:
    """The published program, whose "epoch" has 500 steps."""
    return {
        "form": Marginal(binarize=True),
        "network": MLP(hidden=(512, 512), latent=64),
        "guide": None,
        "schedule": Schedule(epochs=1000, steps=500, batch_size=100),
        "trainer": Trainer(precision="fp32"),
    }


def _gumbel() -> dict[str, Any]:
    """The published program."""
    return {
        "form": Gumbel(),
        "network": MLP(hidden=(512, 512), latent=64),
        "guide": None,
        "schedule": Schedule(epochs=100, batch_size=64),
        "trainer": Trainer(precision="fp32"),
    }
