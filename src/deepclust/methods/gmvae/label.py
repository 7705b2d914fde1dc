r"""The label family: a class y, a code z that depends on it, a row x that depends on the code.

.. math:: p(y) = 1/K, \quad p(z|y) = \mathcal N(W y + b, \mathrm{softplus}(V y + d)), \quad p(x|z)
.. math:: q(y|x) = \text{soft-max network}, \quad q(z|x,y) = \text{Gaussian network}

References
----------
Shu (2016), "Gaussian mixture VAE: lessons in variational inference, generative models, and deep nets" (RuiShu's
vae-clustering): `Marginal`. Arias Figueroa (2018), GMVAE with the Gumbel-softmax: `Gumbel`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deepclust.data.batch import Batch
from deepclust.data.rows import Spec
from deepclust.methods.gmvae.form import AbstractForm, AbstractGMVAEModel, constant, spread_log_var
from deepclust.networks import MLP, build_network
from deepclust.networks.autoencoder import Autoencoder, initialise
from deepclust.networks.expectation import expected_nll
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.networks.precision import full_precision
from deepclust.objectives.gaussian import kl_to_components, log_density, reparameterise
from deepclust.objectives.one_step import class_cost
from deepclust.objectives.relaxed import relaxed_classes
from deepclust.params import Count, PositiveFloat
from deepclust.partition import diagonal_moments

_LOG_VAR_RANGE = (-10.0, 10.0)


class _LabelForm(AbstractForm):
    def build(self, network: Any, spec: Spec, likelihood: AbstractLikelihood, k: int) -> LabelModel:
        """Make the untrained model."""
        return LabelModel(network, spec, likelihood, k)


@dataclass(frozen=True, repr=False)
class Marginal(_LabelForm):
    """Sum over classes exactly, at one decoder pass a class.

    Parameters
    ----------
    binarize
        Draw every pixel anew as black or white at every step, as the published program does.
    """

    binarize: bool = False

    def loss(
        self, model: AbstractGMVAEModel, batch: Batch, weight: float
    ) -> tuple[Mapping[str, Tensor], Float[Tensor, "b k"]]:
        """Return the terms of the exact sum."""
        assert isinstance(model, LabelModel)
        x = (torch.rand_like(batch.x) < batch.x).float() if self.binarize else batch.x
        log_q = model.classify(x)
        k = log_q.shape[1]
        rows = x.repeat_interleave(k, dim=0)
        y = torch.eye(k, device=x.device).repeat(len(x), 1)
        mean, log_var = model.posterior(rows, y)
        noise = torch.randn_like(mean.view(len(x), k, -1)).view_as(mean)  # rows first, as noise is drawn by row
        z = reparameterise(mean, log_var, noise)
        q = log_q.exp().flatten()
        code = log_density(z, mean, log_var) - log_density(z, *model.prior(y))
        terms = {
            "reconstruction": (q * model.likelihood.nll(model.output(z), rows)).sum() / len(x),
            "code": weight * (q * code).sum() / len(x),
            "cluster": weight * class_cost(log_q).mean(),
        }
        return terms, log_q


@dataclass(frozen=True, repr=False)
class Gumbel(_LabelForm):
    """Draw one relaxed class a row. With soft classes this is no bound of the mixture; it becomes one as they harden.

    Parameters
    ----------
    temperature, floor
        At the start, and at the least.
    half_life
        Epochs in which the temperature halves.
    hard
        Round the classes, and let gradients pass as if they were not.
    """

    temperature: PositiveFloat = 1.0
    floor: PositiveFloat = 0.5
    half_life: Count = 50
    hard: bool = False

    def at(self, epoch: int) -> float:
        """Return the temperature of an epoch (counted from 0)."""
        return max(self.floor, self.temperature * 2.0 ** (-epoch / self.half_life))

    def loss(
        self, model: AbstractGMVAEModel, batch: Batch, weight: float
    ) -> tuple[Mapping[str, Tensor], Float[Tensor, "b k"]]:
        """Return the terms for one relaxed sample."""
        assert isinstance(model, LabelModel)
        log_q = model.classify(batch.x)
        y = relaxed_classes(log_q, self.at(batch.progress.epoch), hard=self.hard)
        mean, log_var = model.posterior(batch.x, y)
        z = reparameterise(mean, log_var, torch.randn_like(mean))
        code = log_density(z, mean, log_var) - log_density(z, *model.prior(y))
        terms = {
            "reconstruction": model.likelihood.nll(model.output(z), batch.x).mean(),
            "code": weight * code.mean(),
            "cluster": weight * class_cost(log_q).mean(),
        }
        return terms, log_q


class LabelModel(AbstractGMVAEModel):
    """Networks of the label family."""

    def __init__(self, network: Any, spec: Spec, likelihood: AbstractLikelihood, k: int) -> None:
        super().__init__()
        autoencoder: Autoencoder = build_network(network, MLP(), spec)
        self.k, self.d = k, autoencoder.latent
        self.decoder = autoencoder.decoder
        self.encoder = _encoder(network, autoencoder, spec, k)
        self.log_var = nn.Linear(autoencoder.width, self.d)
        self.mean = nn.Linear(autoencoder.width, self.d)
        self.trunk = build_network(network, MLP(), spec).encoder
        self.classifier = nn.Linear(autoencoder.width, k)
        self.prior_mean, self.prior_spread = nn.Linear(k, self.d), nn.Linear(k, self.d)
        self.likelihood = likelihood
        for layer in (self.mean, self.log_var, self.classifier, self.prior_mean, self.prior_spread):
            layer.apply(initialise)

    def classify(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return log q(y|x)."""
        h = self.trunk(x)
        with full_precision(h):
            return torch.log_softmax(self.classifier(h.float()), dim=1)

    def posterior(
        self, x: Float[Tensor, "b *shape"], y: Float[Tensor, "b k"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """Return mean and log-variance of q(z|x,y)."""
        h = self.encoder(x, y)
        with full_precision(h):
            h = h.float()
            return self.mean(h), self.log_var(h).clamp(*_LOG_VAR_RANGE)

    def prior(self, y: Float[Tensor, "b k"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """Return mean and log-variance of p(z|y)."""
        with full_precision(y):
            variance = F.softplus(self.prior_spread(y.float()))
            return self.prior_mean(y.float()), variance.clamp(min=1e-8).log()

    def encode_plain(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return the mean code for a class that is not known."""
        return self.posterior(x, torch.full((len(x), self.k), 1 / self.k, device=x.device))[0]

    @property
    def plain_parts(self) -> list[nn.Module]:
        """What the pretraining trains."""
        return [self.encoder, self.mean, self.decoder]

    def output(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the decoder's output."""
        x_hat: Tensor = self.decoder(z)
        return x_hat

    @torch.no_grad()
    def start_at(self, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], noise: float) -> None:
        """Place the components."""
        found = diagonal_moments(codes, labels, self.k)
        self.prior_mean.weight.copy_(found.means.T)
        self.prior_mean.bias.zero_()
        variance = found.covariances.clamp(min=1e-6)
        self.prior_spread.weight.copy_((variance + torch.log(-torch.expm1(-variance))).T)  # softplus inverted
        self.prior_spread.bias.zero_()
        constant(self.log_var, spread_log_var(codes, noise))

    @property
    def by_cluster(self) -> list[Tensor]:
        """The classifier's answers, and what classes do to the code and its prior."""
        entry = self.encoder.entry.weight[:, -self.k :].T  # type: ignore[union-attr, index]
        priors = (self.prior_mean.weight.T, self.prior_spread.weight.T)
        return [self.classifier.weight, self.classifier.bias, *priors, entry]

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return the mean code for the classes as they were found."""
        return self.posterior(x, self.assign(x))[0]

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return q(y|x)."""
        return self.classify(x).exp()

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the evidence lower bound of every row in nats, with the most likely class as if it were certain."""
        y = F.one_hot(self.classify(x).argmax(1), self.k).float()
        mean, log_var = self.posterior(x, y)
        own = kl_to_components(mean, log_var, *self.prior(torch.eye(self.k, device=x.device)))
        kl = (own * y).sum(1)
        return -expected_nll(self.output, self.likelihood, x, mean, log_var) - kl - math.log(self.k)

    @property
    def noise_size(self) -> int:
        """A code's dimensions, and one value that chooses the class."""
        return self.d + 1

    def log_weights(self, x: Float[Tensor, "b *shape"], noise: Float[Tensor, "b e"]) -> Float[Tensor, " b"]:
        """Return log p(x,z,y) - log q(z,y|x) for y drawn from q(y|x) and z from q(z|x,y)."""
        log_q = self.classify(x)
        share = torch.special.ndtr(noise[:, self.d :])
        chosen = (log_q.exp().cumsum(1) < share).sum(1).clamp(max=self.k - 1)
        y = F.one_hot(chosen, self.k).float()
        mean, log_var = self.posterior(x, y)
        z = reparameterise(mean, log_var, noise[:, : self.d])
        latent = log_density(z, *self.prior(y)) - log_density(z, mean, log_var)
        classes = -math.log(self.k) - (log_q * y).sum(1)
        return latent + classes - self.likelihood.nll(self.output(z), x)

    @property
    def cluster_weights(self) -> Float[Tensor, " k"]:
        """Uniform."""
        return torch.full((self.k,), 1 / self.k)

    @property
    def code_moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of p(z|y)."""
        with torch.no_grad():
            mean, log_var = self.prior(torch.eye(self.k))
        return mean, (0.5 * log_var).exp()

    def sample_codes(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw codes from p(z|y)."""
        means, deviations = self.code_moments
        noise = torch.randn(len(clusters), self.d, generator=generator)
        return means[clusters] + temperature * deviations[clusters] * noise


class _Early(nn.Module):
    """Row and class side by side as one flat row."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    @property
    def entry(self) -> nn.Linear:
        """The layer that classes enter, by its last inputs."""
        return next(layer for layer in self.trunk.modules() if isinstance(layer, nn.Linear))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h: Tensor = self.trunk(torch.cat([x.flatten(1), y], dim=1))
        return h


class _Late(nn.Module):
    """The class joins the features, for trunks that take images or are the user's own."""

    def __init__(self, trunk: nn.Module, width: int, k: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.join = nn.Sequential(nn.Linear(width + k, width), nn.ReLU())
        self.join.apply(initialise)

    @property
    def entry(self) -> nn.Linear:
        """The layer that classes enter, by its last inputs."""
        layer: nn.Linear = self.join[0]  # type: ignore[assignment]
        return layer

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h: Tensor = self.join(torch.cat([self.trunk(x), y], dim=1))
        return h


def _encoder(network: Any, autoencoder: Autoencoder, spec: Spec, k: int) -> nn.Module:
    if isinstance(network, MLP):
        return _Early(network.build(replace(spec, shape=(spec.size + k,))).encoder)
    return _Late(autoencoder.encoder, autoencoder.width, k)
