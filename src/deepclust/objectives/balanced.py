"""Targets that balance cluster sizes while they follow the model's own assignment."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Kind = Literal["paper", "code", "exact"]

_ROUNDS, _TOLERANCE = 1000, 1e-13


def balanced(p: Float[Tensor, "n k"], prior: Float[Tensor, " k"], kind: Kind = "paper") -> Float[Tensor, "n k"]:
    r"""Return DEPICT's target for the assignments of all rows.

    Parameters
    ----------
    p
        Assignments without noise, of all rows.
    prior
        Expected share of every cluster, :math:`u`.
    kind
        ``"paper"``, eq. 6: :math:`q_{ik} \propto p_{ik} / \sqrt{\sum_{i'} p_{i'k} / u_k}`. ``"code"``, the released
        program's: :math:`q_{ik} \propto p_{ik}^2 / (\sum_{i'} p_{i'k} / u_k)`, which is DEC's target. ``"exact"``: the
        minimiser of the objective that eq. 6 only approximates, :math:`q_{ik} \propto p_{ik} u_k / f_k` with
        :math:`f_k = \tfrac1n \sum_i q_{ik}`.

    References
    ----------
    Dizaji, Herandi, Deng, Cai, Huang (2017), section 3.2.
    """
    tiny = torch.finfo(p.dtype).tiny
    if kind == "exact":
        return _exact(p, prior)
    size = (p.sum(0) / prior).clamp(min=tiny)
    weight = p / size.sqrt() if kind == "paper" else p.square() / size
    return weight / weight.sum(1, keepdim=True)


def _exact(p: Tensor, prior: Tensor) -> Tensor:
    """Find the fixed point of the exact minimiser; the problem is convex, and the damped step converges."""
    work, u = p.double(), prior.double()
    f = work.mean(0).clamp(min=1e-300)
    for _ in range(_ROUNDS):
        q = work * u / f
        q = q / q.sum(1, keepdim=True)
        fresh = (f * q.mean(0)).sqrt().clamp(min=1e-300)
        fresh = fresh / fresh.sum()
        moved = float((fresh - f).abs().max())
        f = fresh
        if moved < _TOLERANCE:
            break
    q = work * u / f
    return (q / q.sum(1, keepdim=True)).to(p.dtype)


def imbalance(f: Float[Tensor, " k"], prior: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    r"""Return :math:`\mathrm{KL}(f \Vert u)`, how far shares of clusters are from the expected ones, in nats.

    Parameters
    ----------
    f
        Shares of the clusters; they sum to one.
    prior
        Expected shares, :math:`u`.

    References
    ----------
    Dizaji et al. (2017), the second term of eq. 3.
    """
    return (torch.special.xlogy(f, f) - torch.special.xlogy(f, prior)).sum()


def imbalance_of(labels: Int64[Tensor, " n"], prior: Float[Tensor, " k"]) -> float:
    """Return the `imbalance` of the shares that clusters 0..k-1 have of these rows, in nats."""
    shares = torch.bincount(labels, minlength=len(prior)).double() / len(labels)
    return float(imbalance(shares, prior.double()))


def balanced_objective(
    q: Float[Tensor, "n k"], p: Float[Tensor, "n k"], prior: Float[Tensor, " k"]
) -> Float[Tensor, ""]:
    r"""Return :math:`\mathrm{KL}(Q \Vert P) + \mathrm{KL}(f \Vert u)`, mean per row, in nats.

    Parameters
    ----------
    q
        Targets.
    p
        Assignments.
    prior
        Expected share of every cluster.

    References
    ----------
    Dizaji et al. (2017), eq. 3.
    """
    own = (torch.special.xlogy(q, q) - torch.special.xlogy(q, p)).sum(1).mean()
    return own + imbalance(q.mean(0), prior)
