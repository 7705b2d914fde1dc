"""Graph degree linkage: merge the clusters that point at each other, until k are left."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from jaxtyping import Float, Int64
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from deepclust.graph.affinity import local_affinity


def graph_degree_linkage(
    z: Float[Tensor, "n d"], k: int, *, neighbors: int = 30, outlier_share: float = 0.05
) -> Int64[Tensor, " n"]:
    r"""Partition points by agglomeration on their directed neighbour graph.

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
        Neighbours a point in the graph.
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
    codes = z.double().numpy()
    linkage = _Linkage(local_affinity(codes, neighbors), codes)
    least = outlier_share * len(codes) / k
    while not linkage.is_done(k, least):
        linkage.merge_best()
    linkage.absorb_outliers(k)
    if len(linkage.members) < k:
        return _split_components(codes, linkage.labels(), k)
    return torch.from_numpy(linkage.labels())


class _Linkage:
    """The state of the agglomeration.

    For a cluster c, ``flow[c]`` holds, for every vertex j outside, the product of the weight from c to j and from j to
    c. Summed over the vertices of another cluster it gives one half of the affinity; that sum is additive when the
    *other* cluster merges, so only the merged cluster's own flow is ever computed anew.
    """

    def __init__(self, affinity: scipy.sparse.csr_array, codes: npt.NDArray[np.float64]) -> None:
        self.codes = codes
        self.home = _first_clusters(affinity)
        self.out, self.into = affinity.tocsr(), affinity.T.tocsr()
        count = int(self.home.max()) + 1
        self.members: dict[int, npt.NDArray[np.int64]] = dict(
            enumerate(np.split(np.argsort(self.home, kind="stable"), np.cumsum(np.bincount(self.home))[:-1]))
        )
        self.vectors = {c: self._vectors(c) for c in self.members}
        self.flow: dict[int, dict[int, float]] = {}
        self.near: dict[int, set[int]] = {c: set() for c in self.members}
        self.heap: list[tuple[float, int, int]] = []
        self.next = count
        for c in self.members:
            self.flow[c] = self._flow(c)
        for c, flow in self.flow.items():
            for other in flow:
                self.near[c].add(other)
                self.near[other].add(c)
        for c in self.members:
            self._push(c, above=c)

    def _vectors(self, c: int) -> tuple[_Sparse, _Sparse]:
        rows = self.members[c]
        return _sum_rows(self.out, rows), _sum_rows(self.into, rows)

    def _flow(self, c: int) -> dict[int, float]:
        """Sum weight-to times weight-from over the vertices of every other cluster."""
        (to, to_weight), (of, of_weight) = self.vectors[c]
        _, left, right = np.intersect1d(to, of, assume_unique=True, return_indices=True)
        homes, inverse = np.unique(self.home[to[left]], return_inverse=True)
        sums = np.bincount(inverse, weights=to_weight[left] * of_weight[right], minlength=len(homes))
        return {int(h): float(s) for h, s in zip(homes, sums, strict=True) if h != c}

    def _affinity(self, a: int, b: int) -> float:
        first = self.flow[a].get(b, 0.0) / len(self.members[a]) ** 2
        return first + self.flow[b].get(a, 0.0) / len(self.members[b]) ** 2

    def _push(self, c: int, above: int = -1) -> None:
        for other in self.near[c]:
            if other > above:
                heapq.heappush(self.heap, (-self._affinity(c, other), min(c, other), max(c, other)))

    def merge_best(self) -> None:
        """Merge the pair with the largest affinity; where nothing is linked any more, the two nearest means."""
        while self.heap:
            _, a, b = heapq.heappop(self.heap)
            if a in self.members and b in self.members:  # a merged cluster has a new number, so a live entry is current
                return self._merge(a, b)
        return self._merge(*self._nearest_means())

    def _merge(self, a: int, b: int) -> None:
        c, self.next = self.next, self.next + 1
        self.members[c] = np.concatenate([self.members.pop(a), self.members.pop(b)])
        self.home[self.members[c]] = c
        (out_a, in_a), (out_b, in_b) = self.vectors.pop(a), self.vectors.pop(b)
        self.vectors[c] = (_add(out_a, out_b), _add(in_a, in_b))
        self.near[c] = (self.near.pop(a) | self.near.pop(b)) - {a, b}
        self.flow.pop(a), self.flow.pop(b)
        self.flow[c] = self._flow(c)
        for other in self.near[c]:
            flow = self.flow[other]
            total = flow.pop(a, 0.0) + flow.pop(b, 0.0)
            if total:
                flow[c] = total
            self.near[other] -= {a, b}
            self.near[other].add(c)
        for other in self.flow[c]:
            if other not in self.near[c]:  # weights to and from that only exist together
                self.near[c].add(other)
                self.near[other].add(c)
        self._push(c)

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
        mean = self.codes[rows].mean(axis=0)
        return min(kept, key=lambda h: (float(((self.codes[self.members[h]].mean(axis=0) - mean) ** 2).sum()), h))

    def _nearest_means(self) -> tuple[int, int]:
        names = sorted(self.members)
        means = np.stack([self.codes[self.members[c]].mean(axis=0) for c in names])
        smallest = min(range(len(names)), key=lambda i: (len(self.members[names[i]]), names[i]))
        distances = ((means - means[smallest]) ** 2).sum(axis=1)
        distances[smallest] = np.inf
        return names[smallest], names[int(distances.argmin())]

    def labels(self) -> npt.NDArray[np.int64]:
        """Number the clusters by their first row."""
        labels = np.empty(len(self.home), dtype=np.int64)
        for number, rows in enumerate(sorted(self.members.values(), key=lambda rows: int(rows.min()))):
            labels[rows] = number
        return labels


_Sparse = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def _sum_rows(matrix: scipy.sparse.csr_array, rows: npt.NDArray[np.int64]) -> _Sparse:
    block = matrix[rows]
    index, inverse = np.unique(block.indices, return_inverse=True)
    sums = np.bincount(inverse, weights=block.data, minlength=len(index)).astype(np.float64)
    return index.astype(np.int64), sums


def _add(a: _Sparse, b: _Sparse) -> _Sparse:
    index, inverse = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    weights = np.concatenate([a[1], b[1]])
    return index, np.bincount(inverse, weights=weights, minlength=len(index)).astype(np.float64)


def _first_clusters(affinity: scipy.sparse.csr_array) -> npt.NDArray[np.int64]:
    """Join every row to its nearest neighbour: the weak components of that graph."""
    n = affinity.shape[0]
    nearest = affinity.indices.reshape(n, -1)[:, 0]
    graph = scipy.sparse.csr_array((np.ones(n), (np.arange(n), nearest)), shape=(n, n))
    return connected_components(graph, directed=True, connection="weak")[1].astype(np.int64)


def _split_components(codes: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], k: int) -> Int64[Tensor, " n"]:
    """Cut the largest clusters in two until there are k: so few rows that their first components are fewer than k."""
    from sklearn.cluster import AgglomerativeClustering

    labels = labels.copy()
    for new in range(int(labels.max()) + 1, k):
        rows = np.flatnonzero(labels == np.bincount(labels).argmax())
        labels[rows[AgglomerativeClustering(2).fit_predict(codes[rows]) == 1]] = new
    return torch.from_numpy(labels)
