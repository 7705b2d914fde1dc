"""Nearest neighbours: exact by scikit-learn, approximate by pynndescent where rows are very many."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.neighbors import NearestNeighbors

from deepclust.errors import MissingExtraError
from deepclust.threads import threads_kept

_LEAST = 10  # fewer leave the graph in pieces
EXACT_ROWS = 200_000  # up to here exact neighbours of codes take minutes; time grows with the rows' square


def suited_neighbors(n: int, k: int, most: int) -> int:
    """Return how many neighbours a row needs for k clusters to show: at most a quarter of an average cluster's rows.

    More would reach into other clusters, of few rows each; ``most`` is enough for clusters of any size.
    """
    return min(most, max(_LEAST, n // (4 * k)))


def nearest_neighbors(
    z: npt.NDArray[np.floating],
    neighbors: int,
    *,
    rows: npt.NDArray[np.int64] | None = None,
    approximate: bool | None = None,
    seed: int = 0,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    """Find the nearest rows of every row, itself left out.

    Parameters
    ----------
    z : (n, d)
        Points.
    neighbors
        How many; cut to n - 1.
    rows
        Numbers of the rows whose neighbours are asked for, which are found exactly; None asks for all.
    approximate
        Take what neighbours of neighbours lead to, in time that hardly exceeds that of the rows; some neighbours are
        missed. False compares all rows, a block at a time; None does up to ``EXACT_ROWS`` rows.
    seed
        Of the approximate search.

    Returns
    -------
    distances, index : (n, neighbors)
        Nearest first, Euclidean; a line for every row that was asked for.

    Raises
    ------
    MissingExtraError
        Where pynndescent is needed and not installed.
    """
    count = min(neighbors, len(z) - 1)
    if approximate is None:
        approximate = len(z) > EXACT_ROWS
    if approximate and rows is None:
        return _approximate(z, count, seed)
    found = NearestNeighbors(n_neighbors=count).fit(z)
    if rows is not None:
        distances, index = found.kneighbors(z[rows], count + 1)
        return _others(distances, index, rows)
    distances, index = found.kneighbors()  # without an argument, a row is not its own neighbour
    return distances, index.astype(np.int64)


def mutual_share(z: npt.NDArray[np.floating], neighbors: int) -> float:
    """Return how many links to nearest neighbours go both ways: few where some rows are near to everybody."""
    _, index = nearest_neighbors(z, neighbors)
    n, count = index.shape
    links = scipy.sparse.csr_array(
        (np.ones(n * count), index.ravel(), np.arange(0, n * count + 1, count)), shape=(n, n)
    )
    return float(links.multiply(links.T).sum() / (n * count))


def _approximate(
    z: npt.NDArray[np.floating], count: int, seed: int
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    descent, points = _nn_descent(), np.ascontiguousarray(z, dtype=np.float32)
    with threads_kept():
        index, distances = descent(points, n_neighbors=count + 1, random_state=seed).neighbor_graph
    return _others(distances, index, np.arange(len(z)))


def _others(
    distances: npt.NDArray[np.floating], index: npt.NDArray[np.integer], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    """Leave every row out of its own list, and one neighbour out of a list that lacks the row."""
    own = index == rows[:, None]
    own[~own.any(axis=1), -1] = True  # among many equal rows, a row need not be in its own list
    kept = (len(index), index.shape[1] - 1)
    return distances[~own].reshape(kept), index[~own].reshape(kept).astype(np.int64)


def _nn_descent() -> Any:
    try:
        from pynndescent import NNDescent
    except ImportError as error:
        raise MissingExtraError(
            f"Neighbours among more than {EXACT_ROWS:,} rows need the package pynndescent, which is not installed: "
            "pip install 'deepclust[manifold]'."
        ) from error
    return NNDescent
