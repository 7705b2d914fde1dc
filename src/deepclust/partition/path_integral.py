"""Agglomeration by path integrals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse

from deepclust.graph.affinity import transition_matrix
from deepclust.partition.linkage import AbstractLinkage, Indices, Points


class PathIntegralLinkage(AbstractLinkage):
    r"""Path-integral clustering.

    The structure of a cluster is the weight of all walks inside it, :math:`S_a = \tfrac1{|a|^2} 1^T (I - zP_a)^{-1} 1`;
    two clusters belong together as far as walks through the other add to it.

    Walks that start and end in a and visit b weigh :math:`z^2 l^T M y`: l is what walks inside a carry into b's rows,
    y what those rows carry into walks inside a, and M, the walks from b to b, is the identity and a part whose rows sum
    to at most z / (1 - z). So :math:`l^T y + \tfrac{z}{1 - z} \lVert l \rVert_1 \max y` is a ceiling, which lies little
    above and is easily kept up to date when b grows. Affinities are computed of those pairs alone whose ceiling comes
    up for merging.

    Parameters
    ----------
    graph, points
        As for any linkage; the graph's rows are normalised here, after a self-loop of weight one is added.
    step
        :math:`z`, the weight of a step of a walk.
    order
        Longest walk that is counted; what is left out is smaller than step to this power.

    References
    ----------
    Zhang, Zhao, Wang (2013), "Agglomerative clustering via maximum incremental path integral", eq. 4 and 8.
    """

    def __init__(
        self,
        graph: scipy.sparse.csr_array,
        points: Points,
        *,
        first: Indices | None = None,
        step: float = 0.01,
        order: int = 6,
    ) -> None:
        self.step, self.order = step, order
        self.transition = transition_matrix(graph)
        self.entering = self.transition.T.tocsr()
        self.position = np.full(graph.shape[0], -1)  # of rows in the block at hand
        super().__init__(graph, points, first=first)

    def _prepare(self) -> None:
        self.structure: dict[int, float] = {}
        self.traffic: dict[int, dict[int, _Traffic]] = {}
        for c in self.members:
            self._measure(c)

    def _measure(self, c: int) -> None:
        """Compute a cluster's structure, and what its walks exchange with the rows around it."""
        rows = self.members[c]
        block = self._block(rows)
        right, left = self._all_walks(block), self._all_walks(block.T.tocsr())
        self.structure[c] = float(right.sum()) / len(rows) ** 2
        leaving, entering = self.transition[rows], self.entering[rows]
        n = len(self.home)
        carried = np.bincount(leaving.indices, leaving.data * np.repeat(left, np.diff(leaving.indptr)), n)
        taken = np.bincount(entering.indices, entering.data * np.repeat(right, np.diff(entering.indptr)), n)
        carried[rows] = taken[rows] = 0
        around = np.flatnonzero(carried + taken)
        homes, inverse = np.unique(self.home[around], return_inverse=True)
        carried, taken = carried[around], taken[around]
        flow, mass = (np.bincount(inverse, w, len(homes)) for w in (carried * taken, carried))
        peak = np.zeros(len(homes))
        np.maximum.at(peak, inverse, taken)
        parts = zip(homes.tolist(), flow.tolist(), mass.tolist(), peak.tolist(), strict=True)
        self.traffic[c] = {home: _Traffic(*numbers) for home, *numbers in parts}

    def _all_walks(self, block: scipy.sparse.csr_array) -> npt.NDArray[np.float64]:
        """Return the weight of the walks inside a block that leave each of its rows."""
        walk = total = np.ones(block.shape[0])
        for _ in range(self.order):
            walk = self.step * (block @ walk)
            total = total + walk
        return total

    def _block(self, rows: Indices) -> scipy.sparse.csr_array:
        """Return the transitions among these rows; slicing columns would cost as much as all rows there are."""
        leaving = self.transition[rows]
        self.position[rows] = np.arange(len(rows))
        to = self.position[leaving.indices]
        self.position[rows] = -1
        inside = to >= 0
        ends = np.cumsum(np.add.reduceat(inside, leaving.indptr[:-1], dtype=np.int64))  # no row is without its loop
        start = np.concatenate([[0], ends])
        return scipy.sparse.csr_array((leaving.data[inside], to[inside], start), shape=(len(rows), len(rows)))

    def _walks(self, block: scipy.sparse.csr_array, own: npt.NDArray[np.float64]) -> float:
        """Sum the weight of walks inside a block that start and end in the rows marked by one."""
        walk, total = own, float(own.sum())
        for _ in range(self.order):
            walk = self.step * (block @ walk)
            total += float(own @ walk)
        return total / float(own.sum()) ** 2

    def _linked(self, c: int) -> set[int]:
        return {other for other, traffic in self.traffic[c].items() if traffic.mass and traffic.peak}

    def _update(self, a: int, b: int, c: int, around: set[int]) -> None:
        for gone in (a, b):
            del self.structure[gone], self.traffic[gone]
        self._measure(c)
        for other in self.traffic[c]:
            theirs = self.traffic[other]
            first, second = theirs.pop(a, _NO_TRAFFIC), theirs.pop(b, _NO_TRAFFIC)
            flow, mass = first.flow + second.flow, first.mass + second.mass
            theirs[c] = _Traffic(flow, mass, max(first.peak, second.peak))

    def ceiling(self, a: int, b: int) -> float:
        """Return what the walks of both cannot add more than."""
        return self._ceiling_of_gain(a, b) + self._ceiling_of_gain(b, a)

    def _ceiling_of_gain(self, a: int, b: int) -> float:
        flow, mass, peak = self.traffic[a].get(b, _NO_TRAFFIC)
        most = flow + self.step / (1 - self.step) * mass * peak
        return (1 + 1e-9) * self.step**2 * most / len(self.members[a]) ** 2  # above rounding

    def affinity(self, a: int, b: int) -> float:
        """Return what the union's walks add to the structure of both."""
        rows = np.concatenate([self.members[a], self.members[b]])
        in_a = np.zeros(len(rows))
        in_a[: len(self.members[a])] = 1.0
        block = self._block(rows)
        gain = self._walks(block, in_a) - self.structure[a]
        return gain + self._walks(block, 1.0 - in_a) - self.structure[b]


class _Traffic(NamedTuple):
    """What a cluster's walks exchange with another cluster's rows: sum of products, sum carried in, most taken back."""

    flow: float
    mass: float
    peak: float


_NO_TRAFFIC = _Traffic(0.0, 0.0, 0.0)
