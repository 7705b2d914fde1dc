"""Gaussian mixtures, by scikit-learn, made safe against singular components."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

Covariance = Literal["diag", "full"]


class GaussianMixturePartition(NamedTuple):
    """A fitted mixture, in double precision. Covariances are ``(k, d)`` or ``(k, d, d)``."""

    labels: Int64[Tensor, " n"]
    weights: Float[Tensor, " k"]
    means: Float[Tensor, "k d"]
    covariances: Float[Tensor, "k *dd"]
    log_likelihood: float  # mean per row, nats


def gaussian_mixture(
    z: Float[Tensor, "n d"],
    k: int,
    *,
    seed: int,
    covariance: Covariance = "diag",
    n_init: int = 10,
    reg: float = 1e-3,
) -> GaussianMixturePartition:
    """Fit a mixture to codes, the best of ``n_init`` k-means starts by likelihood.

    Parameters
    ----------
    z
        Codes.
    k
        Number of components.
    seed
        Of scikit-learn's generator.
    covariance
        Shape of the components.
    n_init
        Number of starts.
    reg
        Added to variances, relative to the mean variance of the codes; raised tenfold, up to three times, where a
        component is singular all the same (dead latent dimensions, duplicates).

    Returns
    -------
    GaussianMixturePartition
        In the codes' own units.
    """
    codes = z.double().numpy()
    unit = float(codes.var(axis=0).mean()) or 1.0
    for attempt in range(4):
        model = GaussianMixture(
            k,
            covariance_type=covariance,
            n_init=n_init,
            reg_covar=reg * unit * 10**attempt,
            random_state=seed,
        )
        try:
            with warnings.catch_warnings():
                # 100 rounds of EM short of the tolerance are still a good start.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(codes)
            break
        except ValueError:
            if attempt == 3:
                raise
    return GaussianMixturePartition(
        labels=torch.from_numpy(model.predict(codes).astype(np.int64)),
        weights=torch.from_numpy(model.weights_),
        means=torch.from_numpy(model.means_),
        covariances=torch.from_numpy(model.covariances_),
        log_likelihood=float(model.score(codes)),
    )


def diagonal_moments(
    z: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], k: int, *, reg: float = 1e-3
) -> GaussianMixturePartition:
    """Place a diagonal mixture by any partition: sizes, means and variances of its clusters.

    Parameters
    ----------
    z
        Codes.
    labels
        Cluster of every row, in 0..k-1.
    k
        Number of clusters.
    reg
        Least variance, relative to the mean variance of the codes.

    Returns
    -------
    GaussianMixturePartition
        An empty cluster gets the moments of all rows and the weight of one row.
    """
    codes = z.double()
    floor = reg * (float(codes.var(dim=0, correction=0).mean()) or 1.0)
    means, variances = codes.mean(0).repeat(k, 1), codes.var(dim=0, correction=0).repeat(k, 1)
    sizes = torch.bincount(labels, minlength=k)
    for cluster in torch.nonzero(sizes).flatten().tolist():
        members = codes[labels == cluster]
        means[cluster], variances[cluster] = members.mean(0), members.var(dim=0, correction=0)
    weights = sizes.clamp(min=1).double()
    variances = variances.clamp(min=floor)
    return GaussianMixturePartition(labels, weights / weights.sum(), means, variances, log_likelihood=float("nan"))
