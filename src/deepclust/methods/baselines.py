"""Shallow baselines, each a well-kept library's estimator behind one preparation of rows.

Every function takes the number of clusters and a seed and returns an estimator with ``fit_predict``.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline, make_pipeline

from deepclust.data.rows import as_rows
from deepclust.methods.graph_agglomeration import GraphAgglomeration
from deepclust.partition import spectral_labels


class FlatRows(TransformerMixin, BaseEstimator):
    """Rows of any shape as flat single-precision rows, images scaled to [0, 1] by their common range."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the range."""
        spec = as_rows(X, owner="FlatRows").spec
        self.low_, self.span_ = (spec.low, (spec.high - spec.low) or 1.0) if spec.is_image else (0.0, 1.0)
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Flatten and scale."""
        rows = as_rows(X, owner="FlatRows")
        flat = (rows.slice(0, len(rows)).float().flatten(1) - self.low_) / self.span_
        matrix: npt.NDArray[np.float32] = flat.numpy()
        return matrix


class NeighbourCut(ClusterMixin, BaseEstimator):
    """Spectral clustering of a neighbour graph, with landmarks beyond 20,000 rows."""

    def __init__(self, n_clusters: int, *, neighbors: int = 10, random_state: int = 0) -> None:
        self.n_clusters = n_clusters
        self.neighbors = neighbors
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Cut the graph."""
        z = torch.from_numpy(np.asarray(X))
        labels = spectral_labels(z, self.n_clusters, seed=self.random_state, neighbors=self.neighbors)
        self.labels_ = labels.numpy()
        return self


def kmeans(n_clusters: int, *, random_state: int, n_init: int = 20) -> Pipeline:
    """k-means on the rows as they are, the best of twenty starts by inertia."""
    return make_pipeline(FlatRows(), KMeans(n_clusters, n_init=n_init, random_state=random_state))


def gmm(
    n_clusters: int,
    *,
    random_state: int,
    components: int = 20,
    covariance: Literal["full", "diag"] = "full",
    n_init: int = 3,
) -> Pipeline:
    """Gaussian mixture on principal components, or with ``components=0`` on the rows as they are."""
    mixture = GaussianMixture(
        n_clusters, covariance_type=covariance, n_init=n_init, reg_covar=1e-4, random_state=random_state
    )
    if components == 0:
        return make_pipeline(FlatRows(), mixture)
    return make_pipeline(FlatRows(), PCA(components, random_state=random_state), mixture)


def spectral(n_clusters: int, *, random_state: int, neighbors: int = 10) -> Pipeline:
    """Spectral clustering of the graph of ten nearest neighbours."""
    return make_pipeline(FlatRows(), NeighbourCut(n_clusters, neighbors=neighbors, random_state=random_state))


def gdl(n_clusters: int, *, random_state: int, **params: Any) -> GraphAgglomeration:
    """Graph degree linkage on rows minus their mean, of unit length; there is no random choice in it."""
    return GraphAgglomeration(n_clusters, linkage="degree", **params)


def pic(n_clusters: int, *, random_state: int, **params: Any) -> GraphAgglomeration:
    """Path-integral clustering of the same rows; there is no random choice in it."""
    return GraphAgglomeration(n_clusters, linkage="path", **params)
