r"""Losses of the spectral methods: cuts of a graph, and pairs that should lie near or far."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def spectral_cost(
    y: Float[Tensor, "m k"], affinity: Float[Tensor, "m m"], *, normalized: bool = False
) -> Float[Tensor, ""]:
    r"""Return :math:`\tfrac{1}{2m} \sum_{ij} W_{ij} \lVert y_i - y_j \rVert^2 = \operatorname{tr}(Y^\top L Y) / m`.

    Parameters
    ----------
    y
        Orthonormal outputs of a batch.
    affinity
        Symmetric; its diagonal does not count.
    normalized
        Divide every :math:`y_i` by :math:`\sqrt{d_i}`, :math:`d_i = \sum_j W_{ij}`: the symmetric Laplacian. (Dividing
        by :math:`d_i`, as is printed in places, gives no Laplacian.)

    References
    ----------
    Shaham et al. (2018), "SpectralNet", eq. 3 and 7.
    """
    y, affinity = y.double(), affinity.double()
    if normalized:
        y = y / affinity.sum(1).clamp(min=1e-12).sqrt().unsqueeze(1)
    # Differences, not y y^T: equal rows must cost exactly nothing.
    distance = (y.unsqueeze(1) - y.unsqueeze(0)).square().sum(-1) if len(y) <= 64 else _squared(y)
    return (affinity * distance).sum() / (2 * len(y))


def _squared(y: Tensor) -> Tensor:
    square = y.square().sum(1)
    return (square.unsqueeze(1) + square.unsqueeze(0) - 2 * y @ y.T).clamp(min=0)


def edge_cost(left: Float[Tensor, "m k"], right: Float[Tensor, "m k"]) -> Float[Tensor, ""]:
    r"""Return :math:`\tfrac{1}{2m} \sum_e \lVert y_{i(e)} - y_{j(e)} \rVert^2` over edges drawn in proportion to W.

    Both ends of such edges are rows drawn in proportion to their degree. With outputs that are orthonormal over them
    this estimates the normalised cut of the whole graph: its least value over all functions of a row is the sum of the
    k smallest eigenvalues of :math:`I - D^{-1} W`.
    """
    return (left.double() - right.double()).square().sum(1).mean() / 2


def contrastive_cost(
    distance: Float[Tensor, " b"], near: Bool[Tensor, " b"], *, margin: float = 1.0, slack: float = 0.0
) -> Float[Tensor, " b"]:
    """Return the cost of pairs that should be near, or further apart than ``margin``.

    Parameters
    ----------
    distance
        Of every pair.
    near
        Which pairs should be near.
    margin
        Beyond it, a pair that should be far costs nothing.
    slack
        Up to it, a pair that should be near costs nothing; the published program has 0.05.

    References
    ----------
    Hadsell, Chopra, LeCun (2006). Shaham et al. (2018), "SpectralNet", eq. 8.
    """
    return torch.where(near, (distance - slack).clamp(min=0).square(), (margin - distance).clamp(min=0).square())


def grassmann(a: Float[Tensor, "n k"], b: Float[Tensor, "n k"]) -> float:
    r"""Return :math:`k - \lVert A^\top B \rVert_F^2` of the spans of two sets of columns, after orthonormalising."""
    first, second = torch.linalg.qr(a.double()).Q, torch.linalg.qr(b.double()).Q
    return float(a.shape[1] - (first.T @ second).square().sum())
