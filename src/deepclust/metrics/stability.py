"""How much partitions of the same rows agree: no labels are involved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deepclust.metrics.external import contingency, match_clusters

Partition = npt.NDArray[np.int64]


def cluster_stability(labels: Partition, others: Sequence[Partition], k: int) -> npt.NDArray[np.float64]:
    r"""Return for every cluster how well it is found again in other partitions.

    .. math:: \frac1m \sum_{j=1}^m \max_d \frac{|c \cap d|}{|c \cup d|}, \qquad d \text{ the clusters of partition } j

    One is a cluster that every partition has; below 0.6 it should not be trusted, from 0.75 on it is a pattern.

    Parameters
    ----------
    labels : (n,)
        The partition whose clusters are judged.
    others : (n,) each
        At least one.
    k
        Number of clusters; those without rows get NaN.

    References
    ----------
    Hennig (2007), "Cluster-wise assessment of cluster stability", Computational Statistics & Data Analysis.
    """
    found = np.full(k, np.nan)
    used = np.unique(labels)
    best = []
    for other in others:
        shared = contingency(other, labels).astype(np.float64)  # our clusters by theirs
        union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
        best.append((shared / union).max(axis=1))
    found[used] = np.mean(best, axis=0)
    return found


class Moves(NamedTuple):
    """A partition in another one's terms.

    Attributes
    ----------
    clusters : (n,)
        Where the other partition has each row, by our cluster that its cluster is matched with; -1 where with none.
    moved : (n,)
        Whether that is another cluster than ours.
    """

    clusters: Partition
    moved: npt.NDArray[np.bool_]


def moves(labels: Partition, other: Partition) -> Moves:
    """Match another partition's clusters to ours so that most rows agree, and tell which rows do not."""
    ours, theirs = np.unique(labels), np.unique(other)
    renamed = np.full(len(theirs), -1, dtype=np.int64)
    for row, column in match_clusters(contingency(labels, other)):
        renamed[row] = ours[column]
    clusters = renamed[np.searchsorted(theirs, other)]
    return Moves(clusters, clusters != labels)
