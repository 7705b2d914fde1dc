"""Coordinates in which neighbours stay together and groups come apart (UMAP), by umap-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepclust.errors import MissingExtraError
from deepclust.partition.mixture import gaussian_mixture
from deepclust.threads import threads_kept


def manifold_coordinates(
    x: npt.NDArray[np.floating[Any]], *, seed: int, components: int = 10, neighbors: int = 20, min_dist: float = 0.0
) -> npt.NDArray[np.float32]:
    """Lay rows out by their nearest neighbours.

    Parameters
    ----------
    x : (n, d)
        Rows.
    seed
        Of umap-learn; with a seed it runs on one thread.
    components
        Dimension of the layout.
    neighbors
        Neighbours of a row in the graph.
    min_dist
        Least distance in the layout; 0 lets groups become dense.

    Returns
    -------
    coordinates : (n, components)

    Raises
    ------
    MissingExtraError
        Where umap-learn is not installed.
    """
    n = len(x)
    with warnings.catch_warnings():
        # It says that a seed costs threads, and that small components are placed apart: both are meant.
        warnings.simplefilter("ignore")
        layout = _umap()(
            n_components=min(components, max(1, n - 2)),
            n_neighbors=min(neighbors, n - 1),
            min_dist=min_dist,
            random_state=seed,
            init="spectral" if n > components + 2 else "random",
        )
        with threads_kept():
            coordinates: npt.NDArray[np.float32] = layout.fit_transform(x)
    return coordinates


def manifold_labels(z: Float[Tensor, "n d"], k: int, *, seed: int) -> Int64[Tensor, " n"]:
    """Cut codes into k parts: a Gaussian mixture with full covariances over their layout.

    Parameters
    ----------
    z
        Codes.
    k
        Number of clusters.
    seed
        Of the layout and of the mixture.

    Returns
    -------
    labels
        In 0..k-1.

    References
    ----------
    McConville, Santos-Rodriguez, Piechocki, Craddock (2020), "N2D: (not too) deep clustering via clustering the local
    manifold of an autoencoded embedding".
    """
    layout = torch.from_numpy(manifold_coordinates(z.float().numpy(), seed=seed))
    return gaussian_mixture(layout, k, seed=seed, covariance="full").labels


def _umap() -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError(
            "This needs the package umap-learn, which is not installed: pip install 'deepclust[manifold]'."
        ) from error
    return UMAP
