"""Published clustering packages as entries of the benchmark, each with its own defaults.

Every function takes the number of clusters and a seed and returns an estimator with ``fit_predict``. Rows reach all of
them alike: flat, images scaled to [0, 1].
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.pipeline import Pipeline, make_pipeline

from deepclust.methods import Entry
from deepclust.methods.baselines import FlatRows

_CLUSTPY = ("DEC", "IDEC", "DCN", "VaDE", "N2D")
ENTRIES = (
    *(
        Entry(
            f"clustpy-{name.lower()}",
            "deepclust_peers",
            "clustpy",
            f"{name} of ClustPy",
            kind="peer",
            params={"name": name},
            packages=("clustpy",),
        )
        for name in _CLUSTPY
    ),
    Entry(
        "peer-spectralnet",
        "deepclust_peers",
        "spectralnet",
        "SpectralNet of its authors",
        kind="peer",
        packages=("spectralnet",),
    ),
    Entry(
        "peer-umap-hdbscan",
        "deepclust_peers",
        "umap_hdbscan",
        "umap-learn and hdbscan as their documentation combines them",
        kind="peer",
        packages=("umap-learn", "hdbscan"),
    ),
    Entry("sklearn-kmeans", "deepclust_peers", "sklearn_kmeans", "scikit-learn's k-means", kind="peer"),
    Entry("sklearn-ward", "deepclust_peers", "sklearn_ward", "scikit-learn's Ward linkage", kind="peer"),
    Entry("sklearn-spectral", "deepclust_peers", "sklearn_spectral", "scikit-learn's spectral cut", kind="peer"),
)


def clustpy(n_clusters: int, *, random_state: int, name: str, **params: Any) -> Pipeline:
    """A deep method of ClustPy."""
    _let_torchvision_import()
    import clustpy.deep

    estimator = getattr(clustpy.deep, name)(n_clusters, random_state=random_state, **params)
    return make_pipeline(FlatRows(), estimator)


class SpectralNet(ClusterMixin, BaseEstimator):
    """SpectralNet of its authors, which has no seed of its own and takes tensors."""

    def __init__(self, n_clusters: int, *, random_state: int, auto_encoder: bool, siamese: bool) -> None:
        self.n_clusters = n_clusters
        self.random_state = random_state
        self.auto_encoder = auto_encoder
        self.siamese = siamese

    def fit(self, X: npt.NDArray[np.float32], y: Any = None) -> Self:
        """Train and assign; its last layer must be as wide as there are clusters."""
        _let_torchvision_import()
        import spectralnet

        torch.manual_seed(self.random_state)
        np.random.seed(self.random_state)  # noqa: NPY002  -- what the package draws from
        network = spectralnet.SpectralNet(
            self.n_clusters,
            should_use_ae=self.auto_encoder,
            should_use_siamese=self.siamese,
            spectral_hiddens=[1024, 1024, 512, self.n_clusters],
        )
        rows = torch.from_numpy(X)
        network.fit(rows)
        self.labels_ = np.asarray(network.predict(rows))
        return self


def spectralnet(n_clusters: int, *, random_state: int, auto_encoder: bool = True, siamese: bool = True) -> Pipeline:
    """SpectralNet with the parts that its authors use for images."""
    network = SpectralNet(n_clusters, random_state=random_state, auto_encoder=auto_encoder, siamese=siamese)
    return make_pipeline(FlatRows(), network)


class UmapHdbscan(ClusterMixin, BaseEstimator):
    """The settings of umap-learn's own page on clustering; the least cluster is a share of the rows, as there."""

    def __init__(self, *, random_state: int) -> None:
        self.random_state = random_state

    def fit(self, X: npt.NDArray[np.float32], y: Any = None) -> Self:
        """Lay out, and find dense regions."""
        import hdbscan
        import umap

        layout = umap.UMAP(n_neighbors=30, min_dist=0.0, n_components=2, random_state=self.random_state)
        least = max(5, len(X) // 140)
        self.labels_ = hdbscan.HDBSCAN(min_samples=10, min_cluster_size=least).fit_predict(layout.fit_transform(X))
        return self


def umap_hdbscan(n_clusters: int, *, random_state: int) -> Pipeline:
    """Finds its own number of clusters."""
    return make_pipeline(FlatRows(), UmapHdbscan(random_state=random_state))


def sklearn_kmeans(n_clusters: int, *, random_state: int) -> Pipeline:
    """One k-means++ start, the package's default."""
    return make_pipeline(FlatRows(), KMeans(n_clusters, random_state=random_state))


def sklearn_ward(n_clusters: int, *, random_state: int) -> Pipeline:
    """There is no random choice in it."""
    return make_pipeline(FlatRows(), AgglomerativeClustering(n_clusters))


def sklearn_spectral(n_clusters: int, *, random_state: int) -> Pipeline:
    """Neighbour graph, k-means on the eigenvectors."""
    cut = SpectralClustering(n_clusters, affinity="nearest_neighbors", random_state=random_state)
    return make_pipeline(FlatRows(), cut)


_LIBRARY: list[torch.library.Library] = []


def _let_torchvision_import() -> None:
    """Declare two operators that torchvision describes on import, where its compiled part cannot be loaded.

    Both packages import torchvision and call none of its operators. Its usual wheels are built for CUDA; beside a CPU
    build of torch they fail on import for lack of these two names.
    """
    if _LIBRARY:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARY.append(library)
