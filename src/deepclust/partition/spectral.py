"""Spectral clustering of codes over a neighbour graph, by scikit-learn, with landmarks where rows are many."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.cluster import SpectralClustering
from sklearn.neighbors import NearestNeighbors
from torch import Tensor


def spectral_labels(
    z: Float[Tensor, "n d"], k: int, *, seed: int, neighbors: int = 15, landmarks: int = 20_000
) -> Int64[Tensor, " n"]:
    """Cut the graph of nearest neighbours into k parts.

    Parameters
    ----------
    z
        Codes.
    k
        Number of clusters.
    seed
        Of the eigensolver's start, and of the choice of landmarks.
    neighbors
        Neighbours of a row in the graph.
    landmarks
        With more rows than this, a random sample of this size is cut, and every other row takes the label of its
        nearest landmark.

    Returns
    -------
    labels
        In 0..k-1.
    """
    codes = z.double().numpy()
    n = len(codes)
    if k == 1:
        return torch.zeros(n, dtype=torch.int64)
    chosen = np.arange(n)
    if n > landmarks:
        chosen = np.sort(np.random.default_rng(seed).choice(n, landmarks, replace=False))
    labels = _cut(codes[chosen], k, seed, neighbors)
    if n > landmarks:
        nearest = NearestNeighbors(n_neighbors=1).fit(codes[chosen])
        labels = labels[nearest.kneighbors(codes, return_distance=False)[:, 0]]
    return torch.from_numpy(labels.astype(np.int64))


def _cut(codes: np.ndarray, k: int, seed: int, neighbors: int) -> np.ndarray:
    model = SpectralClustering(
        k,
        affinity="nearest_neighbors",
        n_neighbors=min(neighbors, len(codes) - 1),
        assign_labels="cluster_qr",
        random_state=seed,
    )
    with warnings.catch_warnings():
        # A graph in several parts is what well-separated clusters look like; the cut is right all the same.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        labels: np.ndarray = model.fit_predict(codes)
    return labels
