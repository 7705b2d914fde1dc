"""Spectral clustering of codes over a neighbour graph, by scikit-learn, with landmarks where rows are many."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.cluster import SpectralClustering
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

_BLOCK = 10_000  # rows whose landmarks are looked for at a time


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
    n = len(z)
    if k == 1:
        return torch.zeros(n, dtype=torch.int64)
    if n == k:  # every row is a cluster, and a graph has not as many eigenvectors as the solver wants
        return torch.arange(n)
    if n <= landmarks:
        return torch.from_numpy(_cut(z.double().numpy(), k, seed, neighbors).astype(np.int64))
    chosen = np.sort(np.random.default_rng(seed).choice(n, landmarks, replace=False))
    marks = z[torch.from_numpy(chosen)].double().numpy()
    labels = _cut(marks, k, seed, neighbors).astype(np.int64)
    search = NearestNeighbors(n_neighbors=1).fit(marks)
    blocks = (block.double().numpy() for block in torch.split(z, _BLOCK))
    nearest = np.concatenate([search.kneighbors(block, return_distance=False)[:, 0] for block in blocks])
    return torch.from_numpy(labels[nearest])


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
