"""Where clustering starts from: a partition of all codes, by name."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepclust.graph import global_affinity, suited_neighbors
from deepclust.partition.kmeans import kmeans
from deepclust.partition.linkage import agglomerate, graph_degree_linkage
from deepclust.partition.manifold import manifold_labels
from deepclust.partition.mixture import gaussian_mixture
from deepclust.partition.path_integral import PathIntegralLinkage
from deepclust.partition.spectral import spectral_labels

Partition = Literal["linkage", "path", "manifold", "mixture", "kmeans", "spectral"]
Start = Partition | Literal["linkage+rows", "manifold+rows"]
"""What partitions the codes; ``+rows``: codes and rows side by side, see `deepclust.partition.views`."""


def start_labels(codes: Float[Tensor, "n d"], k: int, start: Partition, *, seed: int) -> Int64[Tensor, " n"]:
    """Partition codes.

    Parameters
    ----------
    codes
        Of all rows.
    k
        Number of clusters.
    start
        ``"linkage"``: agglomeration of the neighbour graph by degree; ``"path"``: by path integrals, with 20
        neighbours, as published, and fewer where clusters are small; ``"manifold"``: a mixture over the UMAP layout
        (needs the extra ``manifold``); ``"mixture"``: a diagonal mixture, best of ten by likelihood; ``"kmeans"``;
        ``"spectral"``: a cut of the neighbour graph.
    seed
        Of whatever is random.

    Returns
    -------
    labels
        In 0..k-1.
    """
    if start == "linkage":
        return graph_degree_linkage(codes, k)
    if start == "path":
        points = codes.double().numpy()
        graph = global_affinity(points, suited_neighbors(len(points), k, most=20))
        return torch.from_numpy(agglomerate(PathIntegralLinkage(graph, points), k))
    if start == "manifold":
        return manifold_labels(codes, k, seed=seed)
    if start == "mixture":
        return gaussian_mixture(codes, k, seed=seed).labels
    if start == "spectral":
        return spectral_labels(codes, k, seed=seed)
    return kmeans(codes, k, seed=seed).labels
