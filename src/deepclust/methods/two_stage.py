r"""The step-wise way: learn codes first, then partition them.

Algorithm
---------
1. Train an auto-encoder (plain or denoising) or a variational auto-encoder.
2. Partition the codes of all rows: k-means, a Gaussian mixture, a spectral cut of their neighbour graph, or a mixture
   over their UMAP layout.

Nothing flows back: this is the yardstick that joint methods must beat.

Symbols
-------
======================= ============================ ==========================
symbol                  meaning                      name in code
======================= ============================ ==========================
:math:`x, \tilde x`     row, row with values dropped ``x``, ``noisy``
:math:`z`               code                         ``z``
:math:`\mu, \sigma`     mean, deviation of q(z|x)    ``mean``, ``log_var``
======================= ============================ ==========================

Deviations
----------
k-means gives probabilities as the mixture of equal spheres that it is the limit of. A spectral cut and a mixture over a
layout have no rule for new rows; here the nearest training codes decide, so that ``predict`` on training rows gives the
partition itself.

References
----------
Kingma, Welling (2014), "Auto-encoding variational Bayes". Vincent et al. (2010), "Stacked denoising autoencoders".
McConville et al. (2020), "N2D: (not too) deep clustering via clustering the local manifold of an autoencoded
embedding".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepclust.base import AbstractDeepClusterer
from deepclust.data.batch import Batch
from deepclust.data.rows import Channels, Spec
from deepclust.engine import Cosine, Phase, Schedule, Session, Trainer
from deepclust.model import GenerativePartitionModel, PartitionModel
from deepclust.networks import MLP, AbstractNetwork, Conv, Scaling, Variational, build_network
from deepclust.networks.heads import (
    AbstractGenerativeHead,
    AbstractHead,
    CenterHead,
    ExemplarHead,
    MixtureHead,
)
from deepclust.networks.likelihood import (
    Likelihood,
    likelihood_scaling,
    make_likelihood,
    resolve_likelihood,
)
from deepclust.objectives.gaussian import kl_to_components, reparameterise
from deepclust.params import Auto, ClusterCount, Count, RandomState, ShareBelowOne
from deepclust.partition import gaussian_mixture, kmeans, manifold_labels, sample_of, spectral_labels
from deepclust.pretraining import pretrain

_EXEMPLARS = 20_000  # rows of a spectral cut; it keeps them to decide about new ones
_LAID_OUT = 100_000  # rows of a layout that are kept for the same end


class TwoStage(AbstractDeepClusterer):
    """Auto-encoder or VAE, then k-means, a Gaussian mixture, a spectral cut or a UMAP layout of the codes.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    network
        ``"auto"`` (convolutional for images, fully connected for flat rows), a builder, or your own
        ``(encoder, decoder)`` modules.
    variational
        Train a VAE in place of a plain auto-encoder.
    noise
        Share of the input values that are set to zero while training: a denoising auto-encoder.
    partition
        What partitions the codes: ``"kmeans"``, ``"mixture"`` (full covariances, best of ten by likelihood),
        ``"spectral"``, or ``"manifold"`` (N2D: a mixture over the UMAP layout; needs the extra ``manifold``).
    likelihood
        As in `VaDE`.
    schedule
        Of the training.
    trainer
        Where and how training runs.
    n_init
        Number of whole runs, of which the one whose codes fit their partition best is kept.
    channels
        Channel axis of four-dimensional images, where both ends could be one.
    random_state
        None, an int, or a NumPy generator.
    """

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        network: Auto | AbstractNetwork | tuple[nn.Module, nn.Module] = "auto",
        variational: bool = False,
        noise: ShareBelowOne = 0.0,
        partition: Literal["kmeans", "mixture", "spectral", "manifold"] = "mixture",
        likelihood: Likelihood = "auto",
        schedule: Schedule = Schedule(decay=Cosine()),
        trainer: Trainer = Trainer(),
        n_init: Count = 1,
        channels: Channels | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.network = network
        self.variational = variational
        self.noise = noise
        self.partition = partition
        self.likelihood = likelihood
        self.schedule = schedule
        self.trainer = trainer
        self.n_init = n_init
        self.channels = channels
        self.random_state = random_state

    def _scaling(self, spec: Spec) -> Scaling:
        return likelihood_scaling(resolve_likelihood(self.likelihood, spec, "TwoStage"))

    def _build(self, spec: Spec) -> PartitionModel:
        default: AbstractNetwork = Conv() if spec.is_image else MLP()
        likelihood = make_likelihood(resolve_likelihood(self.likelihood, spec, "TwoStage"), spec)
        autoencoder = build_network(self.network, default, likelihood.decoded(spec))
        network = Variational(autoencoder) if self.variational else autoencoder
        head = self._head(autoencoder.latent, spec.n)
        if isinstance(head, AbstractGenerativeHead):
            return GenerativePartitionModel(network, likelihood, head)
        return PartitionModel(network, likelihood, head)

    def _head(self, d: int, n: int) -> AbstractHead:
        k = self.n_clusters
        if self.partition == "kmeans":
            return CenterHead(k, d)
        if self.partition == "mixture":
            return MixtureHead(k, d)
        return ExemplarHead(k, d, min(n, self._most()))

    def _recipe(self, model: PartitionModel, session: Session) -> None:
        # 1. Learn codes.
        if isinstance(model.network, Variational):
            trains: list[nn.Module] = [model.network, model.likelihood]
            session.train(Phase("pretrain", model, self._bound, self.schedule, trains, pretrains=True))
        else:
            pretrain(session, model, model.network, model.likelihood, self.schedule, noise=self.noise)
        # 2. Partition them.
        codes = session.map(model.embed, model)
        found = session.once("partition", lambda: self._partition(codes, session))
        model.head.place(**found)  # type: ignore[operator]

    def _most(self) -> int:
        return _EXEMPLARS if self.partition == "spectral" else _LAID_OUT

    def _bound(self, model: PartitionModel, batch: Batch) -> Mapping[str, Tensor]:
        """Return the negative evidence lower bound of a standard normal prior."""
        assert isinstance(model.network, Variational)
        noisy = batch.x * (torch.rand_like(batch.x) >= self.noise) if self.noise else batch.x
        mean, log_var = model.network.posterior(noisy)
        x_hat = model.network.decode(reparameterise(mean, log_var, torch.randn_like(mean)))
        prior = torch.zeros(1, mean.shape[1], device=mean.device)
        return {
            "reconstruction": model.likelihood.nll(x_hat, batch.x).mean(),
            "prior": kl_to_components(mean, log_var, prior, prior).mean(),
        }

    def _partition(self, codes: Float[Tensor, "n d"], session: Session) -> dict[str, Any]:
        """Fit the head's parameters to all codes, or to a sample where they are very many."""
        seed = session.seed
        if (some := sample_of(len(codes), seed)) is not None:
            session.note("partition of a sample", rows=len(some))
            codes = codes[some]
        if self.partition == "kmeans":
            return kmeans(codes, self.n_clusters, seed=seed)._asdict()
        if self.partition == "mixture":
            found = gaussian_mixture(codes, self.n_clusters, seed=seed, covariance="full")
            return {"weights": found.weights, "means": found.means, "covariances": found.covariances}
        most = self._most()
        if self.partition == "spectral":
            labels = spectral_labels(codes, self.n_clusters, seed=seed, landmarks=most)
        else:
            labels = manifold_labels(codes, self.n_clusters, seed=seed)
        chosen = torch.arange(len(codes))
        if len(codes) > most:
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.randperm(len(codes), generator=generator)[:most].sort().values
        return {"codes": codes[chosen], "labels": labels[chosen]}
