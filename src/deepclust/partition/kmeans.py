"""k-means, by scikit-learn."""

from __future__ import annotations

import warnings
from typing import NamedTuple

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
        Labels, centres, and the sum of squared distances.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer codes than k: clusters stay empty
        model = KMeans(k, n_init=n_init, random_state=seed).fit(z.double().numpy())
    labels = torch.from_numpy(model.labels_.astype("int64"))
    return KMeansPartition(labels, torch.from_numpy(model.cluster_centers_), float(model.inertia_))
