"""A map of the codes: two coordinates for every row."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from deepclust.errors import MissingExtraError
from deepclust.partition import manifold_coordinates

_FITTED = 20_000  # rows that the map is fitted on
_VOTERS = 5
_LEAST = 50  # rows; below, a layout by neighbours says less than a projection

Points = npt.NDArray[np.float64]


class Layout(NamedTuple):
    """Where rows are on the map.

    Attributes
    ----------
    points : (n, 2)
        Coordinates.
    kind
        ``"umap"`` or ``"pca"``.
    fitted
        Rows that it was fitted on; the others lie where their nearest among these do.
    explained
        Share of the codes' variance that a projection shows; None for UMAP.
    """

    points: Points
    kind: Literal["umap", "pca"]
    fitted: int
    explained: float | None


def lay_out(codes: npt.NDArray[Any], *, seed: int = 0, most: int = _FITTED) -> Layout:
    """Lay codes out by UMAP where umap-learn is installed, else on their first two principal components.

    Parameters
    ----------
    codes : (n, d)
        Of all rows.
    seed
        Of the choice of rows and of UMAP.
    most
        Rows that UMAP is fitted on.
    """
    z = np.asarray(codes, dtype=np.float32)
    if len(z) >= _LEAST:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(z))[:most])
        try:
            placed = manifold_coordinates(z[chosen], seed=seed, components=2, neighbors=15, min_dist=0.1)
        except MissingExtraError:
            pass
        else:
            return Layout(_among(z, chosen, placed.astype(np.float64)), "umap", len(chosen), None)
    axes = min(2, *z.shape)
    pca = PCA(axes, random_state=seed).fit(z)
    points = np.zeros((len(z), 2))
    points[:, :axes] = pca.transform(z)
    return Layout(points, "pca", len(z), float(pca.explained_variance_ratio_.sum()))


def _among(z: npt.NDArray[np.float32], chosen: npt.NDArray[np.int64], placed: Points) -> Points:
    """Place every row that was not chosen between its nearest chosen ones, nearer ones counting more."""
    points = np.empty((len(z), 2))
    points[chosen] = placed
    rest = np.setdiff1d(np.arange(len(z)), chosen, assume_unique=True)
    if len(rest):
        near = NearestNeighbors(n_neighbors=min(_VOTERS, len(chosen))).fit(z[chosen])
        distances, index = near.kneighbors(z[rest])
        weights = 1 / np.maximum(distances, 1e-12)
        weights /= weights.sum(axis=1, keepdims=True)
        points[rest] = (placed[index] * weights[:, :, None]).sum(axis=1)
    return points
