"""k-means, by scikit-learn."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor


class KMeansPartition(NamedTuple):
    """What k-means found, in double precision."""

    labels: Int64[Tensor, " n"]
    centers: Float[Tensor, "k d"]
    inertia: float


def kmeans(z: Float[Tensor, "n d"], k: int, *, seed: int, n_init: int = 20) -> KMeansPartition:
    """Partition codes around k centres, the best of ``n_init`` starts by inertia.

    Parameters
    ----------
    z
        Codes.
    k
        Number of clusters.
    seed
        Of scikit-learn's generator.
    n_init
        Number of starts.

    Returns
    -------
    KMeansPartition
        Labels, centres, and the sum of squared distances. Clusters are numbered in the order of their first rows, so
        that the same partition has the same numbers whatever starts led to it; empty ones come last.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer codes than k: clusters stay empty
        model = KMeans(k, n_init=n_init, random_state=seed).fit(z.double().numpy())
    used, first = np.unique(model.labels_, return_index=True)
    order = np.concatenate([used[first.argsort()], np.setdiff1d(np.arange(k), used)]).astype("int64")
    labels = torch.from_numpy(order.argsort()[model.labels_])
    return KMeansPartition(labels, torch.from_numpy(model.cluster_centers_[order]), float(model.inertia_))
