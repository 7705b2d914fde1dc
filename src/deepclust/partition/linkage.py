"""Agglomeration on a neighbour graph: merge the two clusters that belong together most, until k are left.

One engine for every measure of belonging together, and graph degree linkage, the first of them.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from jaxtyping import Float, Int64
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from deepclust.graph.affinity import local_affinity
from deepclust.graph.neighbours import suited_neighbors

Indices = npt.NDArray[np.int64]
Points = npt.NDArray[np.floating]


class MergeTree(NamedTuple):
    """How clusters came about.

    Attributes
    ----------
    first : (n,) int64
        Cluster that every row started in, in 0..m-1.
    children : (t, 2) int64
        Step i merged these two into cluster m + i.
    affinities : (t,) float64
        How much the two belonged together; not monotone, and zero where two clusters had no link.
    """

    first: Indices
    children: Indices
    affinities: npt.NDArray[np.float64]


def graph_degree_linkage(
    z: Float[Tensor, "n d"], k: int, *, neighbors: int | None = None, outlier_share: float = 0.05
) -> Int64[Tensor, " n"]:
    r"""Partition points by graph degree linkage.

    Two clusters belong together when many of their points both point at and are pointed at from the other:

    .. math:: A(a, b) = \tfrac1{|a|^2} \sum_{j \in b} w_{a \to j} w_{j \to a} +
                        \tfrac1{|b|^2} \sum_{i \in a} w_{b \to i} w_{i \to b}

    Starting from the weak components of the 1-nearest-neighbour graph, the pair with the largest affinity is merged
    until k clusters are left. Affinities of merged pairs are recomputed exactly, in memory that grows with the edges.

    Parameters
    ----------
    z
        Points.
    k
        Number of clusters.
    neighbors
        Neighbours a point in the graph; None takes 30, and fewer where clusters are small.
    outlier_share
        Clusters smaller than this share of an average one (n / k rows) do not count as clusters: a handful of rows that
        hang together and point at nobody would else take the place of one. At the end each joins the cluster that most
        of its neighbours are in. Zero is the published algorithm.

    Returns
    -------
    labels
        In 0..k-1, clusters in the order of their first row.

    References
    ----------
    Zhang, Wang, Zhao, Tang (2012), "Graph degree linkage: agglomerative clustering on a directed graph", eq. 3-5.
    """
    points = z.double().numpy()
    count = neighbors or suited_neighbors(len(points), k, most=30)
    linkage = DegreeLinkage(local_affinity(points, count), points)
    return torch.from_numpy(agglomerate(linkage, k, outlier_share))


def agglomerate(linkage: AbstractLinkage, k: int, outlier_share: float = 0.0) -> Indices:
    """Merge until k clusters are left; return the cluster of every row."""
    least = outlier_share * len(linkage.home) / k
    while not linkage.is_done(k, least):
        linkage.merge_best()
    linkage.absorb_outliers(k)
    if len(linkage.members) < k:
        return split_largest(linkage.points, linkage.labels(), k)
    return linkage.labels()


class AbstractLinkage(ABC):
    """The state of an agglomeration.

    Parameters
    ----------
    graph
        Directed weights, (n, n); the same number of edges leaves every row, the nearest neighbour's first.
    points
        Where the rows are, (n, d), for clusters without any link.
    first
        Clusters to start from, in 0..m-1; None takes the weak components of the 1-nearest-neighbour graph.
    """

    def __init__(self, graph: scipy.sparse.csr_array, points: Points, *, first: Indices | None = None) -> None:
        self.points = points
        self.home = _first_clusters(graph) if first is None else first.astype(np.int64)
        self.first = self.home.copy()
        self.out = graph
        sizes = np.bincount(self.home)
        groups = np.split(np.argsort(self.home, kind="stable"), np.cumsum(sizes)[:-1])
        self.members: dict[int, Indices] = dict(enumerate(groups))
        self.near: dict[int, set[int]] = {c: set() for c in self.members}
        self.heap: list[tuple[float, int, int, bool]] = []  # the last: whether the affinity is known, or its ceiling
        self.merges: list[tuple[int, int, float]] = []
        self._prepare()
        for c in self.members:
            self._link(c, self._linked(c))
        for c in self.members:
            self._push(c, above=c)
        self._most_waiting = _crowded(self.heap)

    @abstractmethod
    def affinity(self, a: int, b: int) -> float:
        """Return how much two clusters belong together."""

    def ceiling(self, a: int, b: int) -> float | None:
        """Return what the affinity cannot exceed, where that is much cheaper to tell; None where it is not."""
        return None

    @abstractmethod
    def _prepare(self) -> None:
        """Compute what the measure keeps of every cluster."""

    @abstractmethod
    def _linked(self, c: int) -> set[int]:
        """Return the other clusters whose affinity to this one is not zero on its side."""

    @abstractmethod
    def _update(self, a: int, b: int, c: int, around: set[int]) -> None:
        """Bring what the measure keeps up to date after a and b, which had these neighbours, became c."""

    def merge_best(self) -> None:
        """Merge the pair with the largest affinity; where nothing is linked any more, the two nearest means."""
        while self.heap:
            cost, a, b, is_known = heapq.heappop(self.heap)
            if a not in self.members or b not in self.members:
                continue  # a merged cluster has a new number: a live entry is current
            if is_known:
                return self._merge(a, b, -cost)
            heapq.heappush(self.heap, (-self.affinity(a, b), a, b, True))
        return self._merge(*self._nearest_means(), 0.0)

    def _merge(self, a: int, b: int, affinity: float) -> None:
        c = int(self.first.max()) + 1 + len(self.merges)
        self.merges.append((a, b, affinity))
        self.members[c] = np.concatenate([self.members.pop(a), self.members.pop(b)])
        self.home[self.members[c]] = c
        around = (self.near.pop(a) | self.near.pop(b)) - {a, b}
        self.near[c] = set()
        self._update(a, b, c, around)
        for other in around:
            self.near[other] -= {a, b}
        self._link(c, around | self._linked(c))
        self._push(c)
        if len(self.heap) > self._most_waiting:
            # What waits is in one order, whatever lies between: pairs that are gone take nothing but memory.
            self.heap = [entry for entry in self.heap if entry[1] in self.members and entry[2] in self.members]
            heapq.heapify(self.heap)
            self._most_waiting = _crowded(self.heap)

    def _link(self, c: int, others: set[int]) -> None:
        self.near[c] |= others
        for other in others:
            self.near[other].add(c)

    def _push(self, c: int, above: int = -1) -> None:
        for other in self.near[c]:
            if other > above:
                a, b = min(c, other), max(c, other)
                ceiling = self.ceiling(a, b)
                urgency = self.affinity(a, b) if ceiling is None else ceiling
                heapq.heappush(self.heap, (-urgency, a, b, ceiling is None))

    def is_done(self, k: int, least: float) -> bool:
        """Tell whether k clusters are left, not counting outliers, which together may be a tenth of all rows."""
        if len(self.members) <= k:
            return True
        sizes = np.array([len(rows) for rows in self.members.values()])
        large = sizes >= least
        return bool(large.sum() == k and sizes[~large].sum() <= 0.1 * len(self.home))

    def absorb_outliers(self, k: int) -> None:
        """Let the rows of all but the k largest clusters join those that they point at."""
        ranked = sorted(self.members, key=lambda c: (-len(self.members[c]), c))
        kept = set(ranked[:k])
        for c in ranked[k:]:
            target = self._most_pointed_at(c, kept)
            rows = self.members.pop(c)
            self.members[target] = np.concatenate([self.members[target], rows])
            self.home[rows] = target

    def _most_pointed_at(self, c: int, kept: set[int]) -> int:
        rows = self.members[c]
        to, weight = _sum_rows(self.out, rows)
        homes = self.home[to]
        sums = {h: float(weight[homes == h].sum()) for h in np.unique(homes).tolist() if h in kept}
        if sums:
            return max(sums, key=lambda h: (sums[h], -h))
        mean = self.points[rows].mean(axis=0)
        return min(kept, key=lambda h: (float(((self.points[self.members[h]].mean(axis=0) - mean) ** 2).sum()), h))

    def _nearest_means(self) -> tuple[int, int]:
        names, means = self._means()
        smallest = min(range(len(names)), key=lambda i: (len(self.members[names[i]]), names[i]))
        return names[smallest], names[nearest_other(means, smallest)]

    def _means(self) -> tuple[list[int], Points]:
        names = sorted(self.members)
        return names, np.stack([self.points[self.members[c]].mean(axis=0) for c in names])

    def labels(self) -> Indices:
        """Number the clusters by their first row."""
        labels = np.empty(len(self.home), dtype=np.int64)
        for number, rows in enumerate(sorted(self.members.values(), key=lambda rows: int(rows.min()))):
            labels[rows] = number
        return labels

    def tree(self) -> MergeTree:
        """Return how the clusters came about."""
        children = np.array([merge[:2] for merge in self.merges], dtype=np.int64).reshape(-1, 2)
        return MergeTree(self.first, children, np.array([merge[2] for merge in self.merges], dtype=np.float64))


def nearest_other(means: Points, place: int) -> int:
    """Return which of the other means is nearest to the one at a place."""
    distances = ((means - means[place]) ** 2).sum(axis=1)
    distances[place] = np.inf
    return int(distances.argmin())


def _crowded(heap: list[tuple[float, int, int, bool]]) -> int:
    """Return how many entries a heap may have before those that are gone are worth sweeping out."""
    return 1_000 + len(heap) * 5 // 4


class DegreeLinkage(AbstractLinkage):
    """Graph degree linkage.

    For a cluster c, ``flow[c]`` holds for every other cluster the sum, over its vertices j, of the weight from c to j
    times the weight from j to c: one half of the affinity. That sum is additive when the *other* cluster merges, so
    only the merged cluster's own flow is ever computed anew.
    """

    def _prepare(self) -> None:
        into = self.out.T.tocsr()
        self.vectors = {c: (_sum_rows(self.out, rows), _sum_rows(into, rows)) for c, rows in self.members.items()}
        self.flow = {c: self._flow(c) for c in self.members}

    def _flow(self, c: int) -> dict[int, float]:
        (to, to_weight), (of, of_weight) = self.vectors[c]
        _, left, right = np.intersect1d(to, of, assume_unique=True, return_indices=True)
        homes, inverse = np.unique(self.home[to[left]], return_inverse=True)
        sums = np.bincount(inverse, weights=to_weight[left] * of_weight[right], minlength=len(homes))
        return {int(h): float(s) for h, s in zip(homes, sums, strict=True) if h != c}

    def _linked(self, c: int) -> set[int]:
        return set(self.flow[c])

    def _update(self, a: int, b: int, c: int, around: set[int]) -> None:
        (out_a, in_a), (out_b, in_b) = self.vectors.pop(a), self.vectors.pop(b)
        self.vectors[c] = (_add(out_a, out_b), _add(in_a, in_b))
        self.flow[c] = self._flow_after(a, b, c)
        del self.flow[a], self.flow[b]
        for other in around:
            flow = self.flow[other]
            total = flow.pop(a, 0.0) + flow.pop(b, 0.0)
            if total:
                flow[c] = total

    def _flow_after(self, a: int, b: int, c: int) -> dict[int, float]:
        return self._flow(c)

    def affinity(self, a: int, b: int) -> float:
        """Return both halves, each over the square of its cluster's size."""
        first = self.flow[a].get(b, 0.0) / len(self.members[a]) ** 2
        return first + self.flow[b].get(a, 0.0) / len(self.members[b]) ** 2


_Sparse = tuple[Indices, npt.NDArray[np.float64]]


def _sum_rows(matrix: scipy.sparse.csr_array, rows: Indices) -> _Sparse:
    block = matrix[rows]
    index, inverse = np.unique(block.indices, return_inverse=True)
    sums = np.bincount(inverse, weights=block.data, minlength=len(index)).astype(np.float64)
    return index.astype(np.int64), sums


def _add(a: _Sparse, b: _Sparse) -> _Sparse:
    index, inverse = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    weights = np.concatenate([a[1], b[1]])
    return index, np.bincount(inverse, weights=weights, minlength=len(index)).astype(np.float64)


def _first_clusters(graph: scipy.sparse.csr_array) -> Indices:
    """Join every row to its nearest neighbour: the weak components of that graph."""
    n = graph.shape[0]
    nearest = graph.indices.reshape(n, -1)[:, 0]
    links = scipy.sparse.csr_array((np.ones(n), (np.arange(n), nearest)), shape=(n, n))
    return connected_components(links, directed=True, connection="weak")[1].astype(np.int64)


def split_largest(points: Points, labels: Indices, k: int) -> Indices:
    """Cut the largest clusters in two until there are k: so few rows that their first components are fewer than k."""
    labels = labels.copy()
    for new in range(int(labels.max()) + 1, k):
        rows = np.flatnonzero(labels == np.bincount(labels).argmax())
        labels[rows[AgglomerativeClustering(2).fit_predict(points[rows]) == 1]] = new
    return labels
