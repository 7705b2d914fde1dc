"""Graph degree linkage that looks at a pair's surroundings."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from deepclust.partition.linkage import DegreeLinkage, Indices, Points, nearest_other


class LocalLinkage(DegreeLinkage):
    r"""Graph degree linkage that prefers pairs which stand out from their surroundings.

    The cluster with the largest score is merged with its nearest one:

    .. math:: \mathrm{score}(i) = A(i, N^1) + \tfrac{\lambda}{K_c - 1} \sum_{k=2}^{K_c} A(i, N^1) - A(i, N^k)

    Parameters
    ----------
    graph, points, first
        As for any linkage.
    around
        :math:`K_c`, nearest clusters that are looked at.
    contrast
        :math:`\lambda`; 0 is plain graph degree linkage.
    contrast_above
        The contrast counts while there are more clusters than this.
    additive
        Keep both halves of a merged cluster's affinities as sums of those of its parts, as the published program does.
        What flows out of it and back is more than that: products across its parts are left out.

    References
    ----------
    Yang, Parikh, Batra (2016), "Joint unsupervised learning of deep representations and image clusters", eq. 6.
    """

    def __init__(
        self,
        graph: scipy.sparse.csr_array,
        points: Points,
        *,
        first: Indices | None = None,
        around: int = 5,
        contrast: float = 1.0,
        contrast_above: int = 0,
        additive: bool = False,
    ) -> None:
        self.around, self.contrast, self.contrast_above, self.additive = around, contrast, contrast_above, additive
        super().__init__(graph, points, first=first)

    def join_isolated(self, least: int = 1) -> None:
        """Merge clusters without any link with those of the nearest means, while there are more than so many."""
        while len(self.members) > least and any(not self.near[c] for c in self.members):
            names, means = self._means()
            rows = [int(self.members[c][0]) for c in names]
            for place in [place for place, c in enumerate(names) if not self.near[c]]:
                a, b = (int(self.home[rows[i]]) for i in (place, nearest_other(means, place)))
                if a != b and len(self.members) > least:
                    self._merge(a, b, 0.0)

    def _flow_after(self, a: int, b: int, c: int) -> dict[int, float]:
        if not self.additive:
            return super()._flow_after(a, b, c)
        others = (self.flow[a].keys() | self.flow[b].keys()) - {a, b}
        return {other: self.flow[a].get(other, 0.0) + self.flow[b].get(other, 0.0) for other in others}

    def score(self, c: int) -> tuple[float, int]:
        """Return a cluster's score and the cluster that it would be merged with."""
        ranked = sorted(((self.affinity(c, other), -other) for other in self.near[c]), reverse=True)
        best, partner = ranked[0]
        if len(self.members) <= self.contrast_above:
            return best, -partner
        others = [affinity for affinity, _ in ranked[1 : self.around]]
        missing = max(0, min(self.around, len(self.members)) - 1 - len(others))  # unlinked clusters have affinity zero
        gain = sum(best - affinity for affinity in others) + missing * best
        return best + self.contrast * gain / max(1, self.around - 1), -partner

    def _push(self, c: int, above: int = -1) -> None:
        for changed in (c,) if above >= 0 else (c, *self.near[c]):
            if self.near[changed]:
                score, partner = self.score(changed)
                heapq.heappush(self.heap, (-score, changed, partner, True))

    def merge_best(self) -> None:
        """Merge the cluster with the largest score; where nothing is linked any more, the two nearest means."""
        while self.heap:
            cost, c, partner, _ = heapq.heappop(self.heap)
            if c not in self.members or not self.near[c]:
                continue
            score, current = self.score(c)
            if current == partner and np.isclose(-cost, score, rtol=1e-12, atol=0.0):
                return self._merge(min(c, partner), max(c, partner), self.affinity(c, partner))
            if -score > cost:  # it has become less urgent since; a rise has put an entry of its own on the heap
                heapq.heappush(self.heap, (-score, c, current, True))
        return self._merge(*self._nearest_means(), 0.0)


def merges_so_far(
    linkage: DegreeLinkage, before: Mapping[str, npt.NDArray[Any]] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the present clusters, and all merges as one tree over the first ones.

    Parameters
    ----------
    linkage
        Of clusters that a former linkage left, or of rows.
    before
        What this function returned of that former linkage.

    Returns
    -------
    dict
        ``labels``: cluster of every row, 0..m-1. ``first``, ``children``, ``affinities``: as of `MergeTree`. ``names``:
        the number that each present cluster has in that tree.
    """
    names = sorted(linkage.members)
    tree = linkage.tree()
    if before is None:
        first, children, affinities = tree.first, tree.children, tree.affinities
        present = np.array(names)
    else:
        first, old = before["first"], before["names"]
        offset = int(first.max()) + 1 + len(before["children"])
        renamed = np.concatenate([old, offset + np.arange(len(tree.children))])
        children = np.concatenate([before["children"], renamed[tree.children].reshape(-1, 2)])
        affinities = np.concatenate([before["affinities"], tree.affinities])
        present = renamed[np.array(names)]
    return {
        "labels": np.searchsorted(names, linkage.home).astype(np.int64),
        "first": first.astype(np.int64),
        "children": children.astype(np.int64).reshape(-1, 2),
        "affinities": affinities.astype(np.float64),
        "names": present.astype(np.int64),
    }
