"""Diagonal Gaussians: densities, divergences, samples."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from deepclust.objectives.reconstruction import LOG_2PI


def reparameterise(
    mean: Float[Tensor, "b d"], log_var: Float[Tensor, "b d"], noise: Float[Tensor, "b d"]
) -> Float[Tensor, "b d"]:
    r"""Draw :math:`z = \mu + \sigma \odot \epsilon` so that gradients reach both parameters.

    Parameters
    ----------
    mean, log_var
        Parameters of q(z|x).
    noise
        Standard normal noise, drawn by the caller.

    Returns
    -------
    z
        One sample a row.
    """
    return mean + (0.5 * log_var).exp() * noise


def log_normal(
    z: Float[Tensor, "b d"], means: Float[Tensor, "k d"], log_vars: Float[Tensor, "k d"]
) -> Float[Tensor, "b k"]:
    r"""Log-density of every row under every diagonal Gaussian.

    .. math:: -\tfrac12 \sum_j \log 2\pi + \log v_{cj} + (z_j - \mu_{cj})^2 / v_{cj}

    Parameters
    ----------
    z
        Codes.
    means, log_vars
        Parameters of the k components.

    Returns
    -------
    log_density
        In nats.
    """
    squares = (z.unsqueeze(1) - means).square() * (-log_vars).exp()
    return -0.5 * (squares + log_vars + LOG_2PI).sum(-1)


def log_density(
    z: Float[Tensor, "b d"], mean: Float[Tensor, "b d"], log_var: Float[Tensor, "b d"]
) -> Float[Tensor, " b"]:
    """Log-density of every row under a diagonal Gaussian of its own, in nats.

    Parameters
    ----------
    z
        Codes.
    mean, log_var
        Parameters of q(z|x), one row each.
    """
    return -0.5 * ((z - mean).square() * (-log_var).exp() + log_var + LOG_2PI).sum(-1)


def kl_to_components(
    mean: Float[Tensor, "b d"],
    log_var: Float[Tensor, "b d"],
    means: Float[Tensor, "k d"],
    log_vars: Float[Tensor, "k d"],
) -> Float[Tensor, "b k"]:
    r"""Divergence of every row's posterior from every component, in closed form.

    .. math:: \mathrm{KL}_{bc} = \tfrac12 \sum_j \log v_{cj} - \log\sigma_{bj}^2
              + \frac{\sigma_{bj}^2 + (\mu_{bj} - \mu_{cj})^2}{v_{cj}} - 1

    Parameters
    ----------
    mean, log_var
        Parameters of q(z|x), one row each.
    means, log_vars
        Parameters of the k components.

    Returns
    -------
    kl
        In nats; never negative but for rounding.

    References
    ----------
    Jiang et al. (2017), eq. 12, second and fourth line together.
    """
    row, column = log_var.unsqueeze(1), log_vars
    squares = (row.exp() + (mean.unsqueeze(1) - means).square()) * (-column).exp()
    return 0.5 * (column - row + squares - 1).sum(-1)
