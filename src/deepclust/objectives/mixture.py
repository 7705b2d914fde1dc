"""A Gaussian mixture in the code space: who belongs where, and what that costs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deepclust.objectives.gaussian import log_normal


def log_joint(
    z: Float[Tensor, "b d"],
    log_weights: Float[Tensor, " k"],
    means: Float[Tensor, "k d"],
    log_vars: Float[Tensor, "k d"],
) -> Float[Tensor, "b k"]:
    r"""Log of the joint density, :math:`\log \pi_c + \log \mathcal N(z \mid \mu_c, v_c)`.

    Parameters
    ----------
    z
        Codes.
    log_weights, means, log_vars
        The mixture; weights sum to one.

    Returns
    -------
    log_joint
        Its log-sum-exp over components is log p(z), its soft-max p(c|z).

    References
    ----------
    Jiang et al. (2017), eq. 16 (numerator).
    """
    return log_weights + log_normal(z, means, log_vars)


def log_posterior(kl: Float[Tensor, "b k"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "b k"]:
    r"""Log of the assignment that maximises the evidence bound exactly.

    .. math:: q^*(c|x) \propto \exp(\log \pi_c - \mathrm{KL}_c)

    This is the geometric average of p(c|z) over q(z|x). The paper's argument for the arithmetic one (eq. 16 and
    appendix A) sets a divergence to zero that cannot vanish, since q(c|x) does not depend on z.

    Parameters
    ----------
    kl
        `kl_to_components` of the rows.
    log_weights
        Log of the mixture weights.

    Returns
    -------
    log_q
        Rows of its exponential sum to one.
    """
    return torch.log_softmax(log_weights - kl, dim=1)


def assignment_cost(
    log_q: Float[Tensor, "b k"], kl: Float[Tensor, "b k"], log_weights: Float[Tensor, " k"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    r"""Both divergences of the bound, for any assignment on the simplex.

    .. math:: \sum_c q_c \mathrm{KL}_c \qquad\text{and}\qquad \sum_c q_c (\log q_c - \log \pi_c)

    No epsilon is needed: where q underflows to zero its finite logarithm is multiplied by zero.

    Parameters
    ----------
    log_q
        Log-assignments.
    kl
        `kl_to_components` of the rows.
    log_weights
        Log of the mixture weights.

    Returns
    -------
    code_cost, cluster_cost
        In nats per row.

    References
    ----------
    Jiang et al. (2017), eq. 12, lines 2 to 4.
    """
    q = log_q.exp()
    return (q * kl).sum(1), (q * (log_q - log_weights)).sum(1)


class Mixture(NamedTuple):
    """Parameters of a diagonal Gaussian mixture."""

    weights: Float[Tensor, " k"]
    means: Float[Tensor, "k d"]
    variances: Float[Tensor, "k d"]


def m_step(q: Float[Tensor, "n k"], mean: Float[Tensor, "n d"], log_var: Float[Tensor, "n d"]) -> Mixture:
    r"""Best mixture for fixed posteriors and assignments: EM on latent distributions.

    .. math:: N_c = \sum_b q_{bc}, \quad \pi_c = N_c / N, \quad \mu_c = \tfrac1{N_c} \sum_b q_{bc} \mu_b, \quad
              v_c = \tfrac1{N_c} \sum_b q_{bc} (\sigma_b^2 + (\mu_b - \mu_c)^2)

    Parameters
    ----------
    q
        Assignments of all rows.
    mean, log_var
        Posteriors of all rows.

    Returns
    -------
    mixture
        With `log_posterior` assignments, the bound never falls.
    """
    sizes = q.sum(0)
    share = (q / sizes).T
    means = share @ mean
    second = share @ (log_var.exp() + mean.square())
    return Mixture(sizes / len(q), means, second - means.square())
