"""How well a decoder explains its input: negative log-likelihoods per row."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

LOG_2PI = math.log(2 * math.pi)


def bernoulli_nll(logits: Float[Tensor, "b *shape"], x: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
    r"""Negative log-likelihood of a Bernoulli decoder.

    .. math:: -\sum_d x_d \log m_d + (1 - x_d) \log(1 - m_d) = \sum_d \mathrm{softplus}(l_d) - x_d l_d

    Parameters
    ----------
    logits
        Decoder output :math:`l`, the log-odds of the mean :math:`m`.
    x
        Values in [0, 1]; grey levels are allowed, though the bound is then not a true likelihood.

    Returns
    -------
    nll
        In nats per row.

    References
    ----------
    Jiang et al. (2017), "Variational deep embedding", eq. 12, first line.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_nll(
    mean: Float[Tensor, "b *shape"], x: Float[Tensor, "b *shape"], log_var: Float[Tensor, "*broadcast"]
) -> Float[Tensor, " b"]:
    r"""Negative log-likelihood of a Gaussian decoder with a fixed or learned diagonal variance.

    .. math:: \tfrac12 \sum_d \log 2\pi + \log\sigma_d^2 + (x_d - m_d)^2 / \sigma_d^2

    Parameters
    ----------
    mean
        Decoder output :math:`m`.
    x
        The rows.
    log_var
        :math:`\log\sigma^2`: a scalar, one value a feature, or one a row and feature.

    Returns
    -------
    nll
        In nats per row.

    References
    ----------
    Jiang et al. (2017), eq. 2 and 12.
    """
    squares = (x - mean).square() * (-log_var).exp()
    return 0.5 * (squares + log_var + LOG_2PI).flatten(1).sum(1)
