r"""VaDE: a variational auto-encoder whose prior is a Gaussian mixture, one component a cluster.

Algorithm
---------
1. Pretrain an auto-encoder with the decoder's likelihood.
2. Place the mixture on the codes of all rows, and give every posterior a small variance.
3. Maximise the evidence lower bound over networks and mixture together.

A row belongs to the component with the largest :math:`\log\pi_c - \mathrm{KL}(q(z|x)\,\|\,\mathcal N(\mu_c, v_c))`.

Symbols
-------
============================== =============================== =========================
symbol                         meaning                         name in code
============================== =============================== =========================
:math:`x, \hat x`              row, decoder output             ``x``, ``x_hat``
:math:`\tilde\mu,\tilde\sigma` mean, deviation of q(z|x)       ``mean``, ``log_var``
:math:`z`                      code                            ``z``
:math:`\pi, \mu_c, \sigma_c`   mixture weights, means, spreads ``model.mixture``
:math:`\gamma_c`               q(c|x)                          ``log_q``
:math:`\lambda`                weight of the divergences       ``weight``
============================== =============================== =========================

Deviations
----------
From the paper: ``posterior="exact"`` (our default) uses the assignment that maximises the bound for given networks,
:math:`q^*(c|x) \propto \pi_c e^{-\mathrm{KL}_c}`, in place of p(c|z) at one sampled z (eq. 16), whose derivation sets a
divergence to zero that cannot vanish; ``posterior="sampled"`` is the paper's. The log-variance head starts as a small
constant (`Handover`), since pretraining leaves it untrained. Divergences are faded in over the first steps. The mixture
starts from an agglomeration of the neighbour graph of codes and rows, and for the first half of the phase every row
stays with the cluster that this gave it, with a cross-entropy that pulls the codes of different clusters apart: in the
codes of an auto-encoder those clusters are not Gaussian, and let go at once many rows cross over. Preset ``"paper"``
switches all of these off but the head's start.

From the released program: the mixture weight enters the responsibilities once (there: to the power of the latent
dimension); no constant is added to densities (there: 1e-10, which makes all responsibilities equal in 20 dimensions);
weights and variances are unconstrained logits and logarithms (there: raw, so they leave the simplex and cross zero);
the weights start from the fitted mixture (there: uniform).

References
----------
Jiang, Zheng, Tan, Tang, Zhou (2017), "Variational deep embedding: an unsupervised and generative approach to
clustering", IJCAI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Cosine, Decay, Group, Objective, Phase, Schedule, Session, Trainer
from deepclust.guidance import find_partition
from deepclust.model import AbstractVariationalModel
from deepclust.networks import MLP, AbstractNetwork, Conv, Scaling, Variational, build_network
from deepclust.networks.autoencoder import Autoencoder
from deepclust.networks.expectation import expected_nll
from deepclust.networks.heads import DiagonalMixture
from deepclust.networks.likelihood import (
    AbstractLikelihood,
    Likelihood,
    likelihood_scaling,
    make_likelihood,
    resolve_likelihood,
)
from deepclust.objectives.gaussian import kl_to_components, log_density, reparameterise
from deepclust.objectives.mixture import Mixture, assignment_cost, log_posterior
from deepclust.params import (
    AbstractParameters,
    Auto,
    ClusterCount,
    Count,
    NonNegativeFloat,
    PositiveFloat,
    RandomState,
    Share,
)
from deepclust.partition import Start, diagonal_moments, gaussian_mixture
from deepclust.pretraining import Stacked, pretrain


@dataclass(frozen=True, repr=False)
class Handover(AbstractParameters):
    """How the auto-encoder hands over to the variational model.

    Parameters
    ----------
    noise
        Standard deviation of q(z|x) at the start, relative to that of the codes.
    warmup
        Share of the clustering phase over which the weight of the divergences rises from 0 to 1.
    hold
        Share of the clustering phase during which every row stays with the cluster that the start gave it, while
        networks and mixture adapt. Codes of an auto-encoder are not Gaussian within a cluster: let go at once, rows
        cross over before the networks have had a chance to make them so. The bound holds for any assignment.
    pull
        Weight of an extra cross-entropy between those assignments and the model's own while they are held.
    mixture_rate
        Learning rate of the mixture relative to that of the networks.
    """

    noise: PositiveFloat = 0.1
    warmup: Share = 0.1
    hold: Share = 0.5
    pull: NonNegativeFloat = 50.0
    mixture_rate: PositiveFloat = 1.0


class VaDE(AbstractDeepClusterer):
    """Variational deep embedding: clusters rows, and generates new members of each cluster.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        ``"auto"`` (convolutional for images, fully connected for flat rows), a builder such as `MLP` or `Conv`, or
        your own ``(encoder, decoder)`` modules.
    likelihood
        ``"bernoulli"`` for values that a [0, 1] scale suits, a `Gaussian`, or ``"auto"``: Bernoulli for images and for
        values that lie in [0, 1], else Gaussian with learned variances.
    posterior
        ``"exact"``: the assignment that maximises the bound; ``"sampled"``: the paper's eq. 16.
    start
        What places the mixture on the codes, see `deepclust.partition.start`; the paper's is ``"mixture"``.
    handover
        How the auto-encoder hands over to the variational model.
    pretrain, schedule
        Schedules of the two phases; a `Stacked` first one trains layer by layer before.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one with the highest bound is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.
    """

    presets: ClassVar = {"paper": lambda data: _paper(data)}

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        likelihood: Likelihood = "auto",
        posterior: Literal["exact", "sampled"] = "exact",
        start: Start = "linkage+rows",
        handover: Handover = Handover(),
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
        self.posterior = posterior
        self.start = start
        self.handover = handover
        self.pretrain = pretrain
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        return likelihood_scaling(resolve_likelihood(self.likelihood, spec, "VaDE"))

    def _build(self, spec: Spec) -> VaDEModel:
        default: AbstractNetwork = Conv() if spec.is_image else MLP()
        likelihood = make_likelihood(resolve_likelihood(self.likelihood, spec, "VaDE"), spec)
        return VaDEModel(build_network(self.network, default, likelihood.decoded(spec)), likelihood, self.n_clusters)

    def _recipe(self, model: VaDEModel, session: Session) -> None:
        # 1. Pretrain an auto-encoder with the decoder's likelihood.
        autoencoder = model.network.autoencoder
        pretrain(session, model, autoencoder, model.likelihood, self.pretrain, until=0.5)
        # 2. Place the mixture on the codes, and give every posterior a small variance.
        codes = session.map(model.embed, model)
        start = session.once("start", lambda: self._place(codes, model, session))
        model.mixture.place(Mixture(**start["mixture"]))
        spread = codes.double().std(dim=0, correction=0).square().mean().sqrt()
        model.network.reset_log_var(2 * float((self.handover.noise * spread).clamp(min=1e-6).log()))
        session.start_labels = start["labels"]
        # 3. Maximise the evidence lower bound over networks and mixture together (eq. 12).
        loss = lambda model, batch: self._bound(model, batch, start["labels"])  # noqa: E731
        self._maximise("cluster", model, session, self.schedule, loss)

    def _update(self, model: VaDEModel, session: Session, schedule: Schedule) -> None:
        loss = lambda model, batch: self._bound(model, batch.settled, None)  # noqa: E731
        self._maximise("update", model, session, schedule, loss)

    def _maximise(self, name: str, model: VaDEModel, session: Session, schedule: Schedule, loss: Objective) -> None:
        session.train(
            Phase(
                name=name,
                model=model,
                objective=loss,
                schedule=schedule,
                trains=[model.network, model.likelihood, Group(model.mixture, self.handover.mixture_rate)],
                clusters=True,
            )
        )

    def _place(self, codes: Float[Tensor, "n d"], model: VaDEModel, session: Session) -> dict[str, Any]:
        """Fit the mixture that clustering starts from."""
        k = self.n_clusters
        if self.start == "mixture":
            found = gaussian_mixture(codes, k, seed=session.seed)
        else:
            found = diagonal_moments(codes, find_partition(session, model, codes, k, self.start), k)
        mixture = {"weights": found.weights, "means": found.means, "variances": found.covariances}
        return {"mixture": mixture, "labels": found.labels}

    def _bound(self, model: VaDEModel, batch: Batch, labels: Int64[Tensor, " n"] | None) -> Mapping[str, Tensor]:
        """Return the negative evidence lower bound, eq. 12, in three terms."""
        mean, log_var = model.network.posterior(batch.x)
        z = reparameterise(mean, log_var, torch.randn_like(mean))
        x_hat = model.network.decode(z)
        kl = kl_to_components(mean, log_var, model.mixture.means, model.mixture.safe_log_vars)
        log_weights = model.mixture.log_weights
        held = None
        if labels is not None and batch.progress.share < self.handover.hold:
            held = batch.take(labels)
        if held is not None:
            log_q = _decided(held, self.n_clusters)
        elif self.posterior == "exact":
            log_q = log_posterior(kl, log_weights)
        else:
            log_q = torch.log_softmax(model.mixture.log_joint(z), dim=1)  # eq. 16, with the z that is decoded
        code_cost, cluster_cost = assignment_cost(log_q, kl, log_weights)
        warmup = self.handover.warmup
        weight = min(1.0, batch.progress.share / warmup) if warmup else 1.0
        weighted = weight * code_cost.mean()
        terms = {
            "reconstruction": model.likelihood.nll(x_hat, batch.x).mean(),
            "code": weighted,
            "cluster": weight * cluster_cost.mean(),
        }
        if self.handover.hold and self.handover.pull:  # a phase has the same terms throughout
            pull = torch.zeros_like(weighted) if held is None else F.cross_entropy(log_weights - kl, held)
            terms["hold"] = weight * self.handover.pull * pull
        return terms


def _decided(labels: Int64[Tensor, " b"], k: int) -> Float[Tensor, "b k"]:
    """Log of an assignment that is all but certain; finite, since certainty has an infinite logarithm elsewhere."""
    return torch.log_softmax(50.0 * F.one_hot(labels, k), dim=1)


class VaDEModel(AbstractVariationalModel):
    """Networks, likelihood and mixture of VaDE."""

    def __init__(self, autoencoder: Autoencoder, likelihood: AbstractLikelihood, k: int) -> None:
        super().__init__()
        self.network = Variational(autoencoder)
        self.likelihood = likelihood
        self.mixture = DiagonalMixture(k, autoencoder.latent)

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return mean codes."""
        return self.network.embed(x)

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the assignment that maximises the bound; nothing is sampled."""
        mean, log_var = self.network.posterior(x)
        return log_posterior(self._kl(mean, log_var), self.mixture.log_weights).exp()

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the evidence lower bound of every row in nats, at the best assignment.

        The expected likelihood is a cubature over fixed codes, so that a row always gets the same score.
        """
        mean, log_var = self.network.posterior(x)
        latent = torch.logsumexp(self.mixture.log_weights - self._kl(mean, log_var), dim=1)
        return latent - expected_nll(self.network.decode, self.likelihood, x, mean, log_var)

    @property
    def by_cluster(self) -> list[Tensor]:
        """The mixture."""
        return [self.mixture.logits, self.mixture.means, self.mixture.log_vars]

    def complaints(self) -> list[str]:
        """Tell of variances that have left the range in which they count."""
        return ["A variance of a cluster's codes is at its bound."] if self.mixture.saturated else []

    def reseed(self, cluster: int, z: Float[Tensor, " d"]) -> bool:
        """Place a component at a code."""
        self.mixture.reseed(cluster, z)
        return True

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the mean row of every code."""
        return self.likelihood.mean(self.network.decode(z))

    @property
    def noise_size(self) -> int:
        """One value a dimension of the code."""
        return self.network.latent

    def log_weights(self, x: Float[Tensor, "b *shape"], noise: Float[Tensor, "b e"]) -> Float[Tensor, " b"]:
        """Return log p(x|z) + log p(z) - log q(z|x), clusters summed out."""
        mean, log_var = self.network.posterior(x)
        z = reparameterise(mean, log_var, noise)
        prior = torch.logsumexp(self.mixture.log_joint(z), dim=1)
        return prior - self.likelihood.nll(self.network.decode(z), x) - log_density(z, mean, log_var)

    @property
    def cluster_weights(self) -> Float[Tensor, " k"]:
        """Mixture weights."""
        return self.mixture.log_weights.detach().exp()

    @property
    def code_moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of every component."""
        return self.mixture.moments

    def code_assignment(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the posterior of every component given a code."""
        return torch.softmax(self.mixture.log_joint(z), dim=1)

    def sample_codes(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw codes from components."""
        return self.mixture.sample(clusters, generator, temperature)

    def _kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        return kl_to_components(mean, log_var, self.mixture.means, self.mixture.safe_log_vars)


def _paper(data: str | None) -> dict[str, Any]:
    """Settings of the paper, and where it is silent of the released program."""
    halving = Decay(factor=0.5, every=5) if data == "reuters-10k" else Decay(factor=0.9, every=10, floor=2e-4)
    epochs = {"mnist": 3000, "hhar": 120, "reuters-10k": 15}.get(data or "mnist", 3000)
    return {
        "network": MLP(),
        "posterior": "sampled",
        "start": "mixture",
        "handover": Handover(warmup=0.0, hold=0.0),
        "pretrain": Schedule(epochs=50),
        "schedule": Schedule(epochs=epochs, lr=2e-3, eps=1e-4, decay=halving, batch_size=100),
    }
