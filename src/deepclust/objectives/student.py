"""Soft assignment by a heavy-tailed kernel, and targets that sharpen it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def log_student(z: Float[Tensor, "b d"], centers: Float[Tensor, "k d"], alpha: float = 1.0) -> Float[Tensor, "b k"]:
    r"""Log of the soft assignment by a Student t kernel.

    .. math:: q_{ij} \propto (1 + \lVert z_i - \mu_j \rVert^2 / \alpha)^{-(\alpha + 1) / 2}

    Parameters
    ----------
    z
        Codes.
    centers
        Cluster centres.
    alpha
        Degrees of freedom; the publications keep it at 1.

    Returns
    -------
    log_q
        Rows of its exponential sum to one.

    References
    ----------
    Xie, Girshick, Farhadi (2016), eq. 1.
    """
    squares = (z.unsqueeze(1) - centers).square().sum(-1)
    return torch.log_softmax(-0.5 * (alpha + 1) * torch.log1p(squares / alpha), dim=1)


def sharpened(q: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    r"""Targets from the assignments of all rows.

    .. math:: p_{ij} = \frac{q_{ij}^2 / f_j}{\sum_{j'} q_{ij'}^2 / f_{j'}}, \qquad f_j = \sum_i q_{ij}

    Parameters
    ----------
    q
        Of all rows: targets of a batch alone are another method.

    References
    ----------
    Xie, Girshick, Farhadi (2016), eq. 3.
    """
    weight = q.square() / q.sum(0).clamp(min=torch.finfo(q.dtype).tiny)
    return weight / weight.sum(1, keepdim=True)


def divergence_from_targets(p: Float[Tensor, "b k"], log_q: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Divergence :math:`\sum_j p_{ij} \log (p_{ij} / q_{ij})` of every row, in nats; the targets are constants.

    Parameters
    ----------
    p
        Targets.
    log_q
        Log-assignments.

    References
    ----------
    Xie, Girshick, Farhadi (2016), eq. 2.
    """
    p = p.detach()
    return (torch.special.xlogy(p, p) - p * log_q).sum(1)
