r"""One-step VAE clustering: a VAE whose prior is a Gaussian for each class, with a classifier on the code.

Algorithm
---------
1. (`Guide`, not in the publication) Pretrain an auto-encoder and partition its codes.
2. Train encoder, decoder, classifier and class means together: reconstruct rows, draw codes to the mean of their class,
   keep the classifier's answers soft (eq. 5, or with the sampled code in the second term, eq. 4).

A row belongs to the class that the classifier gives its mean code.

Symbols
-------
============================ ========================================= =====================
symbol                       meaning                                   name in code
============================ ========================================= =====================
:math:`x, G(z)`              row, decoder output                       ``x``, ``x_hat``
:math:`\mu, \sigma`          mean, deviation of p(z|x)                 ``mean``, ``log_var``
:math:`z`                    code                                      ``z``
:math:`p(y|z)`               classifier on the code                    ``log_p``
:math:`\mu_y`                class means, q(z|y) = N(:math:`\mu_y`, I) ``means``
:math:`q(y)`                 uniform                                   ``balance``
============================ ========================================= =====================

The publication calls the encoder's side p and the decoder's q; elsewhere in this library it is the other way round.

Deviations
----------
By default a partition of an auto-encoder's codes leads the classifier for the first half of the training (`Guide`): the
published method breaks the symmetry of its classes by chance, and its results swing with the seed. Preset ``"article"``
leaves it out, and has the article's network, batch and number of epochs. Gradients are clipped by default: the first
steps on mostly black images else drive the sigmoid of the output to zero, where squares have no gradient, and the
decoder stays black for good (seen on all of MNIST). A layer of stride 2 pads on both sides, where
the published program pads below and to the right. Eq. 5 taken literally (``objective="analytic"``) is another number
than the published program's, which is an unbiased estimate of eq. 4.

References
----------
Su (2018), "Variational autoencoders for clustering in one step", kexue.fm/archives/5887.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Budget, Cosine, Phase, Schedule, Session, Trainer
from deepclust.guidance import Guide
from deepclust.model import AbstractVariationalModel, UnitClassModel
from deepclust.networks import MLP, AbstractNetwork, DoubleConv, Scaling, Variational, build_network
from deepclust.networks.autoencoder import Autoencoder, initialise
from deepclust.networks.expectation import expected_nll
from deepclust.networks.likelihood import (
    AbstractLikelihood,
    Gaussian,
    Likelihood,
    likelihood_scaling,
    make_likelihood,
    resolve_likelihood,
)
from deepclust.networks.precision import full_precision
from deepclust.objectives.gaussian import kl_to_components, log_density, log_normal, reparameterise
from deepclust.objectives.one_step import class_cost, sampled_code_cost
from deepclust.params import Auto, ClusterCount, Count, NonNegativeFloat, RandomState
from deepclust.partition import diagonal_moments

_PIXELS = Gaussian(variance=0.4, learn=False, bounded=True)  # the published weight 2.5 on half the squared error


class ClusterVAE(AbstractDeepClusterer):
    """One-step VAE clustering: clusters rows, and generates new members of each class.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        ``"auto"`` (`DoubleConv` for images, fully connected for flat rows), a builder, or your own
        ``(encoder, decoder)`` modules.
    likelihood
        As in `VaDE`; ``"auto"`` is the article's Gaussian of variance 0.4 for images and for values in [0, 1], else one
        with learned variances.
    objective
        ``"sampled"``: the published program's estimate of eq. 4; ``"analytic"``: eq. 5.
    balance
        Weight of the third term, the divergence of a row's classes from uniform; the article allows to leave it out.
    classifier
        Hidden units of the classifier.
    guide
        How a partition found beforehand leads the classifier; None is the one-step method of the article.
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

    presets: ClassVar = {"article": lambda data: _article()}

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        likelihood: Likelihood = "auto",
        objective: Literal["sampled", "analytic"] = "sampled",
        balance: NonNegativeFloat = 1.0,
        classifier: Count = 256,
        guide: Guide | None = Guide(
            pretrain=Schedule(epochs=Budget(passes=50, most_steps=10_000), decay=Cosine(), clip_norm=5.0)
        ),
        schedule: Schedule = Schedule(epochs=Budget(most_steps=15_000), decay=Cosine(), clip_norm=5.0),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.likelihood = likelihood
        self.objective = objective
        self.balance = balance
        self.classifier = classifier
        self.guide = guide
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _resolved(self, spec: Spec) -> Literal["bernoulli"] | Gaussian:
        found = resolve_likelihood(self.likelihood, spec, "ClusterVAE")
        return _PIXELS if self.likelihood == "auto" and found == "bernoulli" else found

    def _scaling(self, spec: Spec) -> Scaling:
        return likelihood_scaling(self._resolved(spec))

    def _build(self, spec: Spec) -> ClusterVAEModel:
        default: AbstractNetwork = DoubleConv() if spec.is_image else MLP()
        likelihood = make_likelihood(self._resolved(spec), spec)
        autoencoder = build_network(self.network, default, likelihood.decoded(spec))
        return ClusterVAEModel(autoencoder, likelihood, self.n_clusters, self.classifier)

    def _recipe(self, model: ClusterVAEModel, session: Session) -> None:
        # 1. Find a partition to start from.
        labels = None
        if self.guide is not None:
            labels = self.guide.find(session, model, model.network.autoencoder, model.embed, self.n_clusters)
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

    def _update(self, model: ClusterVAEModel, session: Session, schedule: Schedule) -> None:
        loss = lambda model, batch: self._loss(model, batch.settled, None)  # noqa: E731
        session.train(Phase("update", model, loss, schedule, trains=[model]))

    def _loss(self, model: ClusterVAEModel, batch: Batch, labels: Int64[Tensor, " n"] | None) -> Mapping[str, Tensor]:
        """Return the three terms of eq. 4 or 5, and what leads the classifier."""
        mean, log_var = model.posterior(batch.x)
        z = reparameterise(mean, log_var, torch.randn_like(mean))
        log_p = model.classify(z)
        if self.objective == "sampled":
            code = sampled_code_cost(z, log_var, log_p, model.means)
        else:
            code = (log_p.exp() * kl_to_components(mean, log_var, model.means, torch.zeros_like(model.means))).sum(1)
        weight = 1.0 if self.guide is None else self.guide.weight(batch)
        terms = {
            "reconstruction": model.likelihood.nll(model.output(z), batch.x).mean(),
            "code": weight * code.mean(),
            "cluster": weight * self.balance * class_cost(log_p).mean(),
        }
        if self.guide is not None:
            terms["guide"] = self.guide.cost(log_p, batch, labels)
        return terms


class ClusterVAEModel(UnitClassModel, AbstractVariationalModel):
    """Networks, classifier and class means."""

    unit: Tensor

    def __init__(self, autoencoder: Autoencoder, likelihood: AbstractLikelihood, k: int, hidden: int) -> None:
        super().__init__()
        d = autoencoder.latent
        self.network = Variational(autoencoder)
        self.likelihood = likelihood
        self.classifier = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, k))
        self.classifier.apply(initialise)
        self.register_buffer("unit", torch.ones(()))
        self.means = nn.Parameter(torch.zeros(k, d))  # equal at first: the classifier's start tells classes apart

    @torch.no_grad()
    def start_at(self, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], noise: float) -> None:
        """Place the class means by a partition of pretrained codes.

        Codes are measured in units of their mean deviation within clusters, which the prior says is one.
        """
        found = diagonal_moments(codes, labels, len(self.means))
        unit = (found.weights @ found.covariances).mean().sqrt().clamp(min=1e-6).to(self.unit.dtype)
        self.unit.copy_(unit)
        self.means.copy_(found.means / unit)
        spread = codes.double().std(dim=0, correction=0).square().mean().sqrt() / unit
        self.network.reset_log_var(2 * float((noise * spread).clamp(min=1e-6).log()))

    @property
    def by_cluster(self) -> list[Tensor]:
        """The classifier's answers, and class means."""
        last = self.classifier[-1]
        return [last.weight, last.bias, self.means]  # type: ignore[list-item]

    def posterior(self, x: Float[Tensor, "b *shape"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """Return mean and log-variance of p(z|x)."""
        mean, log_var = self.network.posterior(x)
        return mean / self.unit, log_var

    def output(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the decoder's output, before the likelihood makes a row of it."""
        return self.network.decode(z * self.unit)

    def classify(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return log p(y|z)."""
        with full_precision(z):
            return torch.log_softmax(self.classifier(z.float()), dim=1)

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return mean codes."""
        return self.network.embed(x) / self.unit

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the classifier's answer at the mean code."""
        return self.classify(self.embed(x)).exp()

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the evidence lower bound of every row in nats, with the classifier's answer as q(y|x)."""
        mean, log_var = self.posterior(x)
        log_p = self.classify(mean)
        kl = kl_to_components(mean, log_var, self.means, torch.zeros_like(self.means))
        nll = expected_nll(self.output, self.likelihood, x, mean, log_var)
        return -nll - (log_p.exp() * kl).sum(1) - class_cost(log_p)

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of every code."""
        return self.likelihood.mean(self.output(z))

    @property
    def noise_size(self) -> int:
        """One value a dimension of the code."""
        return self.network.latent

    def log_weights(self, x: Float[Tensor, "b *shape"], noise: Float[Tensor, "b e"]) -> Float[Tensor, " b"]:
        """Return log p(x|z) + log p(z) - log q(z|x), classes summed out."""
        mean, log_var = self.posterior(x)
        z = reparameterise(mean, log_var, noise)
        prior = torch.logsumexp(log_normal(z, self.means, torch.zeros_like(self.means)), dim=1)
        prior = prior - torch.tensor(float(len(self.means))).log()
        return prior - self.likelihood.nll(self.output(z), x) - log_density(z, mean, log_var)

    def code_assignment(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the classifier's answer."""
        return self.classify(z).exp()


def _article() -> dict[str, Any]:
    """Settings of the published program."""
    return {
        "network": DoubleConv(),
        "guide": None,
        "schedule": Schedule(epochs=50, eps=1e-7, batch_size=100),
        "trainer": Trainer(precision="fp32"),
    }
