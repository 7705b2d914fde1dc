"""Exact nearest neighbours, by scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors


def nearest_neighbors(
    z: npt.NDArray[np.floating], neighbors: int
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    """Find the nearest rows of every row, itself left out.

    Parameters
    ----------
    z : (n, d)
        Points.
    neighbors
        How many; cut to n - 1.

    Returns
    -------
    distances, index : (n, neighbors)
        Nearest first, Euclidean.
    """
    count = min(neighbors, len(z) - 1)
    found = NearestNeighbors(n_neighbors=count).fit(z)
    distances, index = found.kneighbors()  # without an argument, a row is not its own neighbour
    return distances, index.astype(np.int64)
