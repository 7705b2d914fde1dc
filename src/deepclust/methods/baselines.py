"""Shallow baselines, each a well-kept library's estimator behind one preparation of rows.

Every function takes the number of clusters and a seed and returns an estimator with ``fit_predict``.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline, make_pipeline

from deepclust.data.rows import as_rows
from deepclust.engine import Budget, Cosine, Schedule
from deepclust.methods.graph_agglomeration import GraphAgglomeration
from deepclust.methods.two_stage import TwoStage
from deepclust.networks import MLP
from deepclust.partition import manifold_coordinates, spectral_labels

N2D_SCHEDULE = Schedule(epochs=Budget(passes=50, most_steps=15_000), decay=Cosine())


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
        flat = (rows.slice(0, len(rows)).float().flatten(1) - self.low_).div_(self.span_)
        matrix: npt.NDArray[np.float32] = flat.numpy()
        return matrix


class Layout(TransformerMixin, BaseEstimator):
    """UMAP coordinates of the rows that are fitted, and of those alone."""

    def __init__(self, *, components: int, neighbors: int, random_state: int) -> None:
        self.components = components
        self.neighbors = neighbors
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing is learnt."""
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Lay the rows out."""
        return manifold_coordinates(X, seed=self.random_state, components=self.components, neighbors=self.neighbors)


class Dense(ClusterMixin, BaseEstimator):
    """HDBSCAN with a least cluster size that follows from the number of rows and of clusters; -1 is noise."""

    def __init__(self, n_clusters: int, *, least_share: float, min_samples: int) -> None:
        self.n_clusters = n_clusters
        self.least_share = least_share
        self.min_samples = min_samples

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find dense regions."""
        least = max(2, round(self.least_share * len(X) / self.n_clusters))
        self.labels_ = HDBSCAN(min_cluster_size=least, min_samples=self.min_samples, copy=True).fit(X).labels_
        return self


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


def umap_gmm(n_clusters: int, *, random_state: int, components: int = 10, neighbors: int = 20) -> Pipeline:
    """Gaussian mixture with full covariances over the UMAP layout of the rows."""
    layout = Layout(components=components, neighbors=neighbors, random_state=random_state)
    mixture = GaussianMixture(n_clusters, n_init=10, reg_covar=1e-3, random_state=random_state)
    return make_pipeline(FlatRows(), layout, mixture)


def umap_hdbscan(
    n_clusters: int,
    *,
    random_state: int,
    components: int = 10,
    neighbors: int = 20,
    least_share: float = 0.4,
    min_samples: int = 10,
) -> Pipeline:
    """HDBSCAN over the UMAP layout of the rows; ``least_share`` of an average cluster is the smallest cluster."""
    layout = Layout(components=components, neighbors=neighbors, random_state=random_state)
    return make_pipeline(FlatRows(), layout, Dense(n_clusters, least_share=least_share, min_samples=min_samples))


def n2d(n_clusters: int, *, random_state: int, **params: Any) -> TwoStage:
    """Auto-encoder of the papers' fully connected shape, then a mixture over the UMAP layout of its codes."""
    settings = {"network": MLP(), "partition": "manifold", "schedule": N2D_SCHEDULE, **params}
    return TwoStage(n_clusters, random_state=random_state, **settings)


def gdl(n_clusters: int, *, random_state: int, **params: Any) -> GraphAgglomeration:
    """Graph degree linkage on rows of unit length; there is no random choice in it."""
    return GraphAgglomeration(n_clusters, linkage="degree", **params)


def pic(n_clusters: int, *, random_state: int, **params: Any) -> GraphAgglomeration:
    """Path-integral clustering of the same rows; there is no random choice in it."""
    return GraphAgglomeration(n_clusters, linkage="path", **params)
