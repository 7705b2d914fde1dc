"""Classes drawn so that gradients flow through them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def relaxed_classes(log_q: Float[Tensor, "b k"], temperature: float, *, hard: bool = False) -> Float[Tensor, "b k"]:
    r"""Draw a point of the simplex for every row, near a corner where the temperature is low.

    .. math:: y = \operatorname{softmax}((\log q + g) / \tau), \quad g \sim \text{Gumbel}(0, 1)

    Parameters
    ----------
    log_q
        Log-probabilities of classes.
    temperature
        :math:`\tau`.
    hard
        Round to the corner, and let gradients pass as if it were not.

    References
    ----------
    Jang, Gu, Poole (2017), "Categorical reparameterization with Gumbel-softmax", eq. 2.
    """
    noise = -torch.empty_like(log_q, memory_format=torch.legacy_contiguous_format).exponential_().log()
    soft = torch.softmax((log_q + noise) / temperature, dim=1)
    if not hard:
        return soft
    corner = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return corner - soft.detach() + soft
