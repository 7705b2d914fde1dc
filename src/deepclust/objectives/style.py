"""Gaussian-mixture VAEs with a style: every row has components of its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from deepclust.objectives.reconstruction import LOG_2PI


def log_row_components(
    z: Float[Tensor, "b d"], means: Float[Tensor, "b k d"], log_vars: Float[Tensor, "b k d"]
) -> Float[Tensor, "b k"]:
    """Log-density of every row's code under its own k diagonal Gaussians, in nats.

    Parameters
    ----------
    z
        Codes.
    means, log_vars
        Components, which depend on the row's style.
    """
    squares = (z.unsqueeze(1) - means).square() * (-log_vars).exp()
    return -0.5 * (squares + log_vars + LOG_2PI).sum(-1)


def kl_to_row_components(
    mean: Float[Tensor, "b d"],
    log_var: Float[Tensor, "b d"],
    means: Float[Tensor, "b k d"],
    log_vars: Float[Tensor, "b k d"],
) -> Float[Tensor, "b k"]:
    """Divergence of every row's posterior from its own k components, in closed form and nats.

    Parameters
    ----------
    mean, log_var
        Parameters of q(z|x).
    means, log_vars
        Components, which depend on the row's style.

    References
    ----------
    Dilokthanakul et al. (2016), the conditional prior term.
    """
    row = log_var.unsqueeze(1)
    squares = (row.exp() + (mean.unsqueeze(1) - means).square()) * (-log_vars).exp()
    return 0.5 * (log_vars - row + squares - 1).sum(-1)


def minimum_information(cost: Float[Tensor, ""], least: float) -> Float[Tensor, ""]:
    """Return a batch's mean cost, or the least one, below which no gradient flows ("free bits").

    Parameters
    ----------
    cost
        Mean over the batch, nats a row.
    least
        Nats a row.
    """
    return torch.clamp(cost, min=least)
