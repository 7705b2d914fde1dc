"""Kernels on neighbour graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from jaxtyping import Float
from torch import Tensor

from deepclust.graph.neighbours import nearest_neighbors
from deepclust.objectives.affinity import Affinity

_NEIGHBORS = 30  # where a rule names none


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


def gaussian_affinity(
    z: npt.NDArray[np.floating],
    neighbors: int,
    *,
    scale: str | float = "local",
    scale_neighbor: int = 5,
    factor: float = 2.0,
) -> scipy.sparse.csr_array:
    r"""Symmetric affinity of the graph of nearest neighbours, averaged with its transpose.

    .. math:: W_{ij} = \exp(-d_{ij}^2 / c \sigma_i \sigma_j)

    Parameters
    ----------
    z : (n, d)
        Points.
    neighbors
        Neighbours a row.
    scale
        ``"local"``: :math:`\sigma_i` is the distance to the ``scale_neighbor``-th neighbour; ``"median"``: the median
        of these, for all rows; or a number.
    scale_neighbor
        Which neighbour.
    factor
        :math:`c`.

    References
    ----------
    Zelnik-Manor, Perona (2004), "Self-tuning spectral clustering".
    """
    distances, index = nearest_neighbors(z, max(neighbors, scale_neighbor))
    own = distances[:, min(scale_neighbor, distances.shape[1]) - 1]
    positive = own[own > 0]
    typical = float(np.median(positive)) if len(positive) else 1.0
    if scale == "local":
        sigma = np.maximum(own, 1e-3 * typical)  # duplicates have distance zero
    else:
        sigma = np.full(len(z), typical if scale == "median" else float(scale))
    distances, index = distances[:, :neighbors], index[:, :neighbors]
    weights = np.exp(-(distances**2) / (factor * sigma[:, None] * sigma[index]))
    graph = _graph(weights, index)
    return scipy.sparse.csr_array((graph + graph.T) / 2)


def weighted_edges(points: Float[Tensor, "n d"], rule: Affinity) -> dict[str, Tensor]:
    """Return the graph of all rows that a rule describes: ``row``, ``column`` and ``weight`` of its edges, by row."""
    graph = gaussian_affinity(
        points.double().numpy(),
        rule.neighbors or _NEIGHBORS,
        scale=rule.scale,
        scale_neighbor=rule.scale_neighbor,
        factor=rule.factor,
    ).tocoo()
    row, column = (torch.from_numpy(part.astype("int64")) for part in (graph.row, graph.col))
    return {"row": row, "column": column, "weight": torch.from_numpy(graph.data)}


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
