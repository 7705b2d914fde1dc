"""Where clustering starts from: a partition of all codes, by name."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepclust.graph import global_affinity, suited_neighbors
from deepclust.objectives.balanced import imbalance_of
from deepclust.partition.kmeans import kmeans
from deepclust.partition.linkage import agglomerate, graph_degree_linkage
from deepclust.partition.manifold import manifold_labels
from deepclust.partition.mixture import gaussian_mixture
from deepclust.partition.path_integral import PathIntegralLinkage
from deepclust.partition.spectral import spectral_labels

Partition = Literal["linkage", "path", "manifold", "mixture", "kmeans", "spectral"]
Start = Partition | Literal["linkage+rows", "manifold+rows"]
"""What partitions the codes; ``+rows``: codes and rows side by side, see `deepclust.partition.views`."""

_NEIGHBORS = (15, 20, 25, 30, 40)  # of the linkages that expected shares choose from; without these it is 30 alone


def start_labels(
    codes: Float[Tensor, "n d"],
    k: int,
    start: Partition,
    *,
    seed: int,
    prior: Float[Tensor, " k"] | None = None,
) -> Int64[Tensor, " n"]:
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
    prior
        Expected shares of the clusters, where a method has them. Of five linkages, with 15 to 40 neighbours, the one
        whose sizes are nearest to these is taken: often two merges are about as good as each other, and a neighbour
        more or less decides. Where shares differ, clusters are numbered so that the largest has the largest share.

    Returns
    -------
    labels
        In 0..k-1.
    """
    if prior is None:
        return _labels(codes, k, start, seed)
    if start == "linkage":
        counts = sorted({suited_neighbors(len(codes), k, most) for most in _NEIGHBORS})
        found = [graph_degree_linkage(codes, k, neighbors=count) for count in counts]
    else:
        found = [_labels(codes, k, start, seed)]
    return min((_numbered(labels, prior) for labels in found), key=lambda labels: imbalance_of(labels, prior))


def _numbered(labels: Int64[Tensor, " n"], prior: Float[Tensor, " k"]) -> Int64[Tensor, " n"]:
    """Number clusters by the rank of their sizes among the expected shares."""
    if prior.min() == prior.max():
        return labels
    sizes = torch.bincount(labels, minlength=len(prior))
    ranked, places = (v.argsort(descending=True, stable=True) for v in (sizes, prior))
    numbers = torch.empty_like(places)
    numbers[ranked] = places
    return numbers[labels]


def _labels(codes: Float[Tensor, "n d"], k: int, start: Partition, seed: int) -> Int64[Tensor, " n"]:
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
