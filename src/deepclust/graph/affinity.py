"""Kernels on neighbour graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse

from deepclust.graph.neighbours import nearest_neighbors


def local_affinity(z: npt.NDArray[np.floating], neighbors: int) -> scipy.sparse.csr_array:
    r"""Directed affinity with a scale of its own for every row.

    .. math:: W_{ij} = \tfrac1{\sigma_i} \exp(-d_{ij}^2 / 2\sigma_i^2) \quad (j \text{ near } i), \qquad
              \sigma_i = d_{i, \lfloor K/2 \rfloor}

    Parameters
    ----------
    z : (n, d)
        Points.
    neighbors
        K, neighbours a row.

    Returns
    -------
    affinity : (n, n) sparse
        Zero diagonal; row i holds the K edges that leave i.

    References
    ----------
    Zhang, Wang, Zhao, Tang (2012), "Graph degree linkage: agglomerative clustering on a directed graph", and the
    graph of its published program.
    """
    distances, index = nearest_neighbors(z, neighbors)
    count = index.shape[1]
    scale = distances[:, max(0, count // 2 - 1)]
    positive = scale[scale > 0]
    scale = np.maximum(scale, 1e-3 * positive.mean() if len(positive) else 1.0)  # duplicates have distance zero
    weights = np.exp(-0.5 * (distances / scale[:, None]) ** 2) / scale[:, None]
    return _graph(weights, index)


def global_affinity(z: npt.NDArray[np.floating], neighbors: int, *, scale: float = 1.0) -> scipy.sparse.csr_array:
    r"""Directed affinity with one scale for all rows.

    .. math:: W_{ij} = \exp(-d_{ij}^2 / \sigma^2) \quad (j \text{ near } i), \qquad
              \sigma^2 = a \cdot \text{mean of all } d_{ij}^2

    The scale doubles until every row's nearest neighbour has at least 1e-5.

    Parameters
    ----------
    z : (n, d)
        Points.
    neighbors
        Neighbours a row.
    scale
        :math:`a`.

    Returns
    -------
    affinity : (n, n) sparse
        Zero diagonal; row i holds the edges that leave i, the nearest neighbour's first.

    References
    ----------
    Yang, Parikh, Batra (2016), "Joint unsupervised learning of deep representations and image clusters", eq. 1, and
    the path-integral program that JULE and DEPICT share.
    """
    distances, index = nearest_neighbors(z, neighbors)
    squares = distances.astype(np.float64) ** 2
    variance = scale * float(squares.mean()) or 1.0
    while np.exp(-squares[:, 0].max() / variance) < 1e-5:
        variance *= 2
    return _graph(np.exp(-squares / variance), index)


def transition_matrix(affinity: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Add a self-loop of weight one to every row and normalise rows: the steps of a random walk."""
    loops = affinity + scipy.sparse.eye_array(affinity.shape[0], format="csr")
    return scipy.sparse.csr_array(scipy.sparse.diags_array(1 / loops.sum(axis=1)) @ loops)


def _graph(weights: npt.NDArray[np.floating], index: npt.NDArray[np.int64]) -> scipy.sparse.csr_array:
    n, count = index.shape
    pointer = np.arange(0, n * count + 1, count)
    return scipy.sparse.csr_array((weights.ravel().astype(np.float64), index.ravel(), pointer), shape=(n, n))
