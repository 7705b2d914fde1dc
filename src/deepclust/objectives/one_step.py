"""One-step VAE clustering: a classifier on the code, and a Gaussian of unit variance for each class."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor


def sampled_code_cost(
    z: Float[Tensor, "b d"], log_var: Float[Tensor, "b d"], log_p: Float[Tensor, "b k"], means: Float[Tensor, "k d"]
) -> Float[Tensor, " b"]:
    r"""Cost of codes outside their class, with the code that is decoded.

    .. math:: \tfrac12 \sum_y p(y|z) \sum_j (z_j - \mu_{yj})^2 - \log\sigma_j^2

    The sampled code must stand here: with its mean in its place nothing would keep the variance from growing.

    Parameters
    ----------
    z
        One sample a row from q(z|x).
    log_var
        Log-variance of q(z|x).
    log_p
        Log of p(y|z).
    means
        Class means.

    Returns
    -------
    cost
        In nats; an estimate, up to half the dimension, of the second term of eq. 4.

    References
    ----------
    Su (2018), "Variational autoencoders for clustering in one step", eq. 4 and the published program.
    """
    squares = (z.unsqueeze(1) - means).square().sum(-1)
    return 0.5 * ((log_p.exp() * squares).sum(1) - log_var.sum(1))


def class_cost(log_p: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Divergence of p(y|z) from the uniform distribution over classes.

    .. math:: \log K + \sum_y p(y|z) \log p(y|z)

    It keeps each row's assignment soft; nothing in it balances the classes' sizes.

    Parameters
    ----------
    log_p
        Log of p(y|z); finite, so that no epsilon is needed.

    References
    ----------
    Su (2018), eq. 5, third term.
    """
    return (log_p.exp() * log_p).sum(1) + math.log(log_p.shape[1])
