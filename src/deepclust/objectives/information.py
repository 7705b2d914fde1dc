"""Mutual information between inputs and codes, by discriminators of true pairs from false ones."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def information_cost(true: Float[Tensor, "*shape"], false: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    r"""Return minus the Jensen-Shannon bound, for a discriminator's logits of pairs.

    .. math:: \mathbb E_{p(x,z)} \operatorname{softplus}(-T) + \mathbb E_{p(x)p(z)} \operatorname{softplus}(T)

    It is :math:`2 \log 2` for a discriminator that knows nothing, and falls towards
    :math:`2 \log 2 - 2\,\mathrm{JSD}`; encoder and discriminator both minimise it.

    Parameters
    ----------
    true, false
        Logits of pairs that belong together, and of pairs that do not.

    References
    ----------
    Hjelm et al. (2019), "Learning deep representations by mutual information estimation and maximization", eq. 4.
    Yang et al. (2019), "Deep spectral clustering using dual autoencoder network", eq. 4.
    """
    return F.softplus(-true).mean() + F.softplus(false).mean()
