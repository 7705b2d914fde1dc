"""Kernels on neighbour graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse

from deepclust.graph.neighbours import nearest_neighbors


def local_affinity(z: npt.NDArray[np.float64], neighbors: int) -> scipy.sparse.csr_array:
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
    n, count = index.shape
    scale = distances[:, max(0, count // 2 - 1)]
    positive = scale[scale > 0]
    scale = np.maximum(scale, 1e-3 * positive.mean() if len(positive) else 1.0)  # duplicates have distance zero
    weights = np.exp(-0.5 * (distances / scale[:, None]) ** 2) / scale[:, None]
    pointer = np.arange(0, n * count + 1, count)
    return scipy.sparse.csr_array((weights.ravel(), index.ravel(), pointer), shape=(n, n))
