r"""Graph agglomerative clustering: no network, and the baseline that every deep method should be compared with.

Algorithm
---------
1. Prepare rows: subtract the mean row (black from images), scale rows to unit length, project on principal components.
2. Build the directed graph of nearest neighbours.
3. Start from the weak components of its 1-nearest-neighbour part.
4. Merge the two clusters that belong together most, until k are left.

Symbols
-------
====================== ============================================ ====================
symbol                 meaning                                      name in code
====================== ============================================ ====================
:math:`W`              directed weights, K a row                    ``graph``
:math:`A(a, b)`        how much clusters a and b belong together    ``linkage.affinity``
:math:`S_a`            path integral of a cluster                   ``structure``
====================== ============================================ ====================

Deviations
----------
The published programs keep tables of all pairs of rows and clusters, and ask for tens of gigabytes at 70,000 rows; here
everything is sparse, with affinities of merged clusters recomputed exactly. Path integrals are summed over walks of at
most six steps instead of solving a linear system for every pair: what is left out is smaller than the step weight,
0.01, to the sixth power. Clusters of a handful of rows that nobody points at do not count among the k
(``outlier_share``): two such rows among 10,000 digits cost the published algorithm one of its ten clusters. New rows go
to the cluster of their nearest training rows; the publications have no such rule.

References
----------
Zhang, Wang, Zhao, Tang (2012), "Graph degree linkage: agglomerative clustering on a directed graph". Zhang, Zhao, Wang
(2013), "Agglomerative clustering via maximum incremental path integral".
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted, validate_data

from deepclust.data.rows import Channels, Rows, as_rows, value_range
from deepclust.errors import InvalidDataError
from deepclust.graph import global_affinity, local_affinity, suited_neighbors
from deepclust.params import Auto, ClusterCount, Count, Share, check_parameters
from deepclust.partition.linkage import DegreeLinkage, agglomerate
from deepclust.partition.path_integral import PathIntegralLinkage

_VOTERS = 5  # nearest training rows that decide about a new one
_BLOCK = 4096  # rows that are brought to the scale of one at a time

Matrix = npt.NDArray[np.floating[Any]]


class GraphAgglomeration(ClusterMixin, BaseEstimator):
    """Agglomeration on the graph of nearest neighbours, sparse enough for 70,000 rows on a laptop.

    Parameters
    ----------
    n_clusters
        Number of clusters.
    linkage
        ``"degree"`` (GDL) or ``"path"`` (PIC).
    neighbors
        Neighbours a row in the graph; ``"auto"`` takes 20 up to 14,000 rows and 100 from 70,000 on, as was published,
        and fewer where clusters are small.
    center
        Subtract the mean row; ``"auto"`` does it for flat rows, and takes black from images: brightness drops out then.
    normalize
        Scale rows to unit length, after centring.
    variance
        Project on the principal components that hold this share of the variance, after scaling; None keeps all.
    outlier_share
        Clusters smaller than this share of an average one do not count; 0 is the published algorithm.
    channels
        Channel axis of four-dimensional images, where both ends could be one.

    Attributes
    ----------
    labels_ : (n,) int64
        Cluster of every row, in the order of their first rows.
    tree_ : MergeTree
        How the clusters came about.
    """

    def __init__(
        self,
        n_clusters: ClusterCount = 10,
        *,
        linkage: Literal["degree", "path"] = "degree",
        neighbors: Count | Auto = "auto",
        center: bool | Auto = "auto",
        normalize: bool = True,
        variance: Share | None = None,
        outlier_share: Share = 0.05,
        channels: Channels | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.linkage = linkage
        self.neighbors = neighbors
        self.center = center
        self.normalize = normalize
        self.variance = variance
        self.outlier_share = outlier_share
        self.channels = channels

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the clusters; ``y`` is ignored.

        Parameters
        ----------
        X
            Rows; see `deepclust.data.rows.as_rows` for what is taken.
        """
        check_parameters(self)
        x = self._matrix(X, reset=True)
        if len(x) < max(2, self.n_clusters):
            raise InvalidDataError(
                f"GraphAgglomeration got {len(x)} rows (n_samples={len(x)}) for n_clusters={self.n_clusters}; "
                "it needs at least one row per cluster, and two in all."
            )
        # 1. Prepare rows.
        self.pca_ = None
        if self.variance is not None:
            share = self.variance if self.variance < 1 else None
            self.pca_ = PCA(share, svd_solver="full").fit(self._scaled(x))
        self.points_ = self._prepared(x)
        del x  # as large as what comes after
        # 2. Build the graph. 3. Start from its 1-nearest-neighbour components.
        graph = (local_affinity if self.linkage == "degree" else global_affinity)(
            self.points_, self._count(len(self.points_))
        )
        linkage = (DegreeLinkage if self.linkage == "degree" else PathIntegralLinkage)(graph, self.points_)
        # 4. Merge until k clusters are left.
        self.labels_ = agglomerate(linkage, self.n_clusters, self.outlier_share)
        self.tree_ = linkage.tree()
        return self

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Return the cluster of every row: that of the nearest training rows, closer ones counting more, (n,)."""
        check_is_fitted(self)
        x = self._prepared(self._matrix(X, reset=False))
        voters = NearestNeighbors(n_neighbors=min(_VOTERS, len(self.points_))).fit(self.points_)
        distances, index = voters.kneighbors(x)
        tiny = 1e-6 * max(float(distances.mean()), 1e-30)
        weights = 1 / np.maximum(distances, tiny)  # a training row is its own voter, and wins
        weights[distances[:, 0] <= tiny, 1:] = 0
        votes = np.zeros((len(x), self.n_clusters))
        np.add.at(votes, (np.arange(len(x))[:, None], self.labels_[index]), weights)
        labels: npt.NDArray[np.int64] = votes.argmax(axis=1)
        return labels

    def _count(self, n: int) -> int:
        if self.neighbors != "auto":
            return int(self.neighbors)
        return suited_neighbors(n, self.n_clusters, most=min(max(20, n // 700), 100))

    def _matrix(self, X: Any, *, reset: bool) -> Matrix:
        """Check rows, flatten and centre them, and bring them to the scale of one."""
        many = len(X.shape) > 2 if hasattr(X, "shape") else np.asarray(X).ndim > 2
        channels = self.channels if many and len(X.shape) == 4 else None
        rows = as_rows(X, channels=channels, owner="GraphAgglomeration")
        if not many:
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif reset:
            self.n_features_in_ = rows.spec.size
        if rows.spec.size != self.n_features_in_:
            raise InvalidDataError(
                f"GraphAgglomeration was fitted on rows of {self.n_features_in_} values and got {rows.spec.size}."
            )
        if reset:
            self.mean_ = self._origin(rows)
            self.span_: float = (rows.spec.high - rows.spec.low) or 1.0
        scaled = np.empty((len(rows), rows.spec.size), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = rows.slice(start, start + _BLOCK).double().flatten(1).numpy()
            # In double precision first: single would lose features far from zero.
            scaled[start : start + _BLOCK] = (block - self.mean_) / self.span_
        return scaled

    def _origin(self, rows: Rows) -> Matrix:
        """Return what is subtracted from every row."""
        if self.center == "auto" and rows.spec.is_image:
            return np.full(rows.spec.size, value_range(rows.spec)[0])
        return rows.moments.mean.ravel() if self.center else np.zeros(rows.spec.size)

    def _prepared(self, x: Matrix) -> Matrix:
        x = self._scaled(x)
        return x if self.pca_ is None else np.asarray(self.pca_.transform(x), dtype=np.float32)

    def _scaled(self, x: Matrix) -> Matrix:
        if not self.normalize:
            return x
        length = np.linalg.norm(x, axis=1, keepdims=True)
        return np.asarray(x / np.where(length > 0, length, 1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        return tags
