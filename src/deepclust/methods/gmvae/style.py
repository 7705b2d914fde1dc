r"""The style family: a class y and a style w choose where the code z lies, and the code makes the row x.

.. math:: p(y) = 1/K, \quad p(w) = \mathcal N(0, I), \quad p(z|y,w) = \mathcal N(\mu_y(w), \sigma_y^2(w)), \quad p(x|z)

One network of w gives all K means and variances. The publication's letters are x for the code, y for the row and z for
the class; here they are as in the rest of the library.

References
----------
Dilokthanakul, Mediano, Garnelo, Lee, Salimbeni, Arulkumaran, Shanahan (2016), "Deep unsupervised clustering with
Gaussian mixture variational autoencoders", first version (``version=1``) and later ones (``version=2``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deepclust.data.batch import Batch
from deepclust.data.rows import Spec
from deepclust.methods.gmvae.form import AbstractForm, AbstractGMVAEModel, constant, spread_log_var
from deepclust.networks import MLP, build_network
from deepclust.networks.autoencoder import Autoencoder, initialise
from deepclust.networks.expectation import cubature
from deepclust.networks.likelihood import AbstractLikelihood
from deepclust.networks.precision import full_precision
from deepclust.objectives.gaussian import log_density, reparameterise
from deepclust.objectives.one_step import class_cost
from deepclust.objectives.style import kl_to_row_components, log_row_components, minimum_information
from deepclust.params import Count, NonNegativeFloat
from deepclust.partition import diagonal_moments
from deepclust.together import gathered

_LOG_VAR_RANGE = (-10.0, 10.0)


@dataclass(frozen=True, repr=False)
class Style(AbstractForm):
    """The style family's objective.

    Parameters
    ----------
    version
        1: the class has a network of its own, q(y|x), and ``consistency`` ties it to the code. 2: the class is the
        exact posterior p(y|z,w), and ``free_bits`` keeps its prior term from making all components alike.
    style
        Dimension of w.
    hidden
        Units of the network that gives the components.
    samples
        Draws of code and style a row.
    prior
        Weight of the class's prior term (eta).
    consistency
        Weight of the entropy of p(y|z,w), version 1 (alpha).
    free_bits
        Nats a row below which version 2's prior term exerts no force.
    """

    version: Literal[1, 2] = 2
    style: Count = 20
    hidden: Count = 500
    samples: Count = 1
    prior: NonNegativeFloat = 1.0
    consistency: NonNegativeFloat = 0.4
    free_bits: NonNegativeFloat = 0.5

    def build(self, network: Any, spec: Spec, likelihood: AbstractLikelihood, k: int) -> StyleModel:
        """Make the untrained model."""
        return StyleModel(self, build_network(network, MLP(), spec), likelihood, k)

    def loss(
        self, model: AbstractGMVAEModel, batch: Batch, weight: float
    ) -> tuple[Mapping[str, Tensor], Float[Tensor, "b k"]]:
        """Return the terms, averaged over the draws."""
        assert isinstance(model, StyleModel)
        found = model.encode(batch.x)
        draws = [self._draw(model, batch, found, weight) for _ in range(self.samples)]
        terms = {name: torch.stack([d[0][name] for d in draws]).mean() for name in draws[0][0]}
        standard = torch.zeros_like(found.style_mean)
        kl_style = _kl_to_standard(found.style_mean, found.style_log_var, standard)
        terms["style"] = weight * kl_style.mean()
        return terms, found.log_q if found.log_q is not None else draws[0][1]

    def _draw(
        self, model: StyleModel, batch: Batch, found: Encoded, weight: float
    ) -> tuple[dict[str, Tensor], Float[Tensor, "b k"]]:
        z = reparameterise(found.mean, found.log_var, torch.randn_like(found.mean))
        w = reparameterise(found.style_mean, found.style_log_var, torch.randn_like(found.style_mean))
        means, log_vars = model.components(w)
        log_p = torch.log_softmax(log_row_components(z, means, log_vars), dim=1)
        log_q = log_p if found.log_q is None else found.log_q
        kl = kl_to_row_components(found.mean, found.log_var, means, log_vars)
        terms = {
            "reconstruction": model.likelihood.nll(model.output(z), batch.x).mean(),
            "code": weight * (log_q.exp() * kl).sum(1).mean(),
        }
        if self.version == 1:
            terms["cluster"] = weight * self.prior * class_cost(log_q).mean()
            terms["consistency"] = weight * self.consistency * -(log_p.exp() * log_p).sum(1).mean()
        else:
            terms["cluster"] = (
                weight * self.prior * minimum_information(gathered(class_cost(log_q)).mean(), self.free_bits)
            )
        return terms, log_p


@dataclass(frozen=True)
class Encoded:
    """What the encoder says about rows."""

    mean: Float[Tensor, "b d"]
    log_var: Float[Tensor, "b d"]
    style_mean: Float[Tensor, "b s"]
    style_log_var: Float[Tensor, "b s"]
    log_q: Float[Tensor, "b k"] | None  # version 1 alone


class StyleModel(AbstractGMVAEModel):
    """Networks of the style family."""

    def __init__(self, form: Style, autoencoder: Autoencoder, likelihood: AbstractLikelihood, k: int) -> None:
        super().__init__()
        width, self.d, self.s, self.k = autoencoder.width, autoencoder.latent, form.style, k
        self.trunk, self.decoder = autoencoder.encoder, autoencoder.decoder
        self.mean, self.log_var = nn.Linear(width, self.d), nn.Linear(width, self.d)
        self.style_mean, self.style_log_var = nn.Linear(width, self.s), nn.Linear(width, self.s)
        self.classifier = nn.Linear(width, k) if form.version == 1 else None
        self.prior = nn.Sequential(nn.Linear(self.s, form.hidden), nn.Tanh())
        self.prior_means = nn.Linear(form.hidden, k * self.d)
        self.prior_log_vars = nn.Linear(form.hidden, k * self.d)
        self.likelihood = likelihood
        layers = (self.mean, self.log_var, self.style_mean, self.style_log_var, self.prior)
        for layer in (*layers, self.prior_means, self.prior_log_vars, *filter(None, [self.classifier])):
            layer.apply(initialise)

    def encode(self, x: Float[Tensor, "b *shape"]) -> Encoded:
        """Return q(z|x), q(w|x) and, in version 1, q(y|x)."""
        h = self.trunk(x)
        with full_precision(h):
            h = h.float()
            log_q = None if self.classifier is None else torch.log_softmax(self.classifier(h), dim=1)
            variances = [layer(h).clamp(*_LOG_VAR_RANGE) for layer in (self.log_var, self.style_log_var)]
            return Encoded(self.mean(h), variances[0], self.style_mean(h), variances[1], log_q)

    def components(self, w: Float[Tensor, "b s"]) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k d"]]:
        """Return means and log-variances of p(z|y,w) for every class."""
        with full_precision(w):
            h = self.prior(w.float())
            shape = (-1, self.k, self.d)
            return self.prior_means(h).view(shape), self.prior_log_vars(h).view(shape).clamp(*_LOG_VAR_RANGE)

    def encode_plain(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return mean codes."""
        h = self.trunk(x)
        with full_precision(h):
            codes: Tensor = self.mean(h.float())
        return codes

    def embed(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b d"]:
        """Return mean codes."""
        return self.encode_plain(x)

    @property
    def plain_parts(self) -> list[nn.Module]:
        """What the pretraining trains."""
        return [self.trunk, self.mean, self.decoder]

    def output(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *shape"]:
        """Return the decoder's output."""
        x_hat: Tensor = self.decoder(z)
        return x_hat

    @torch.no_grad()
    def start_at(self, codes: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], noise: float) -> None:
        """Place the components, at first the same for every style."""
        found = diagonal_moments(codes, labels, self.k)
        self.prior_means.weight.mul_(0.1)
        self.prior_log_vars.weight.mul_(0.1)
        self.prior_means.bias.copy_(found.means.flatten())
        self.prior_log_vars.bias.copy_(found.covariances.clamp(min=1e-6).log().flatten())
        constant(self.log_var, spread_log_var(codes, noise))

    @property
    def by_cluster(self) -> list[Tensor]:
        """What gives each component, and the classifier where there is one."""
        parts = [
            part.view(self.k, -1) for layer in (self.prior_means, self.prior_log_vars) for part in layer.parameters()
        ]
        return parts if self.classifier is None else [*parts, self.classifier.weight, self.classifier.bias]

    def assign(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return q(y|x), or p(y|z,w) at the means of code and style."""
        return self._log_q(self.encode(x)).exp()

    def _log_q(self, found: Encoded) -> Float[Tensor, "b k"]:
        if found.log_q is not None:
            return found.log_q
        return torch.log_softmax(log_row_components(found.mean, *self.components(found.style_mean)), dim=1)

    def score(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
        """Return the evidence lower bound of every row in nats, for the assignment that `assign` gives.

        Expectations over code and style are a cubature over fixed points.
        """
        found = self.encode(x)
        log_q = self._log_q(found)
        cost = class_cost(log_q) + _kl_to_standard(
            found.style_mean, found.style_log_var, torch.zeros_like(found.style_mean)
        )
        points = cubature(self.d + self.s).to(found.mean)
        for noise in points:
            z = reparameterise(found.mean, found.log_var, noise[: self.d].expand_as(found.mean))
            w = reparameterise(found.style_mean, found.style_log_var, noise[self.d :].expand_as(found.style_mean))
            kl = kl_to_row_components(found.mean, found.log_var, *self.components(w))
            cost = cost + ((log_q.exp() * kl).sum(1) + self.likelihood.nll(self.output(z), x)) / len(points)
        return -cost

    @property
    def noise_size(self) -> int:
        """Dimensions of code and style."""
        return self.d + self.s

    def log_weights(self, x: Float[Tensor, "b *shape"], noise: Float[Tensor, "b e"]) -> Float[Tensor, " b"]:
        """Return log p(x,z,w) - log q(z,w|x), classes summed out."""
        found = self.encode(x)
        z = reparameterise(found.mean, found.log_var, noise[:, : self.d])
        w = reparameterise(found.style_mean, found.style_log_var, noise[:, self.d :])
        prior = torch.logsumexp(log_row_components(z, *self.components(w)), dim=1) - math.log(self.k)
        style = log_density(w, torch.zeros_like(w), torch.zeros_like(w))
        posterior = log_density(z, found.mean, found.log_var)
        posterior = posterior + log_density(w, found.style_mean, found.style_log_var)
        return prior + style - posterior - self.likelihood.nll(self.output(z), x)

    @property
    def cluster_weights(self) -> Float[Tensor, " k"]:
        """Uniform."""
        return torch.full((self.k,), 1 / self.k)

    @property
    def code_moments(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Mean and standard deviations of p(z|y,w) at the mean style."""
        with torch.no_grad():
            means, log_vars = self.components(torch.zeros(1, self.s))
        return means[0], (0.5 * log_vars[0]).exp()

    def sample_codes(
        self, clusters: Int64[Tensor, " n"], generator: torch.Generator, temperature: float = 1.0
    ) -> Float[Tensor, "n d"]:
        """Draw a style, then a code from p(z|y,w)."""
        w = temperature * torch.randn(len(clusters), self.s, generator=generator)
        noise = temperature * torch.randn(len(clusters), self.d, generator=generator)
        row = torch.arange(len(clusters))
        means, log_vars = self.components(w)
        return means[row, clusters] + (0.5 * log_vars[row, clusters]).exp() * noise


def _kl_to_standard(mean: Tensor, log_var: Tensor, zero: Tensor) -> Tensor:
    return kl_to_row_components(mean, log_var, zero.unsqueeze(1), zero.unsqueeze(1)).squeeze(1)
