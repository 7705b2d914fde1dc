"""A layer whose outputs are orthonormal over a batch, and whose weights are computed instead of learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepclust.params import AbstractParameters, PositiveFloat

_STRETCH = 500.0  # ratio of the weights' singular values; the default floor keeps it below 1000 times the root of k


@dataclass(frozen=True, repr=False)
class Orthonormal(AbstractParameters):
    r"""How outputs :math:`\tilde Y` of a batch are made orthonormal: :math:`Y = \tilde Y A`, :math:`Y^\top Y / m = I`.

    Parameters
    ----------
    kind
        ``"cholesky"`` (of the Gram matrix) and ``"qr"`` differ in the signs of columns; ``"whitening"`` changes the
        outputs least.
    floor
        Least eigenvalue of the Gram matrix, relative to their mean; what is missing is added to all. Outputs of lower
        rank than they have columns stay finite so, and are orthonormal as far as they go.
    detach
        Let no gradient flow through the weights, so that the constraint holds between steps alone.
    """

    kind: Literal["cholesky", "qr", "whitening"] = "cholesky"
    floor: PositiveFloat = 1e-6
    detach: bool = False


class OrthonormalLayer(nn.Module):
    """Keeps the weights of the last batch that it was fitted to; the identity before the first.

    Parameters
    ----------
    k
        Number of outputs.
    rule
        How the weights are computed.
    """

    weights: Tensor

    def __init__(self, k: int, rule: Orthonormal) -> None:
        super().__init__()
        self.rule = rule
        self.register_buffer("weights", torch.eye(k, dtype=torch.float64))

    def forward(self, y: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Apply the weights that are kept."""
        return y.double() @ self.weights

    def complaints(self) -> list[str]:
        """Tell of weights that stretch the outputs so unevenly that these are all but of lower rank."""
        spread = torch.linalg.svdvals(self.weights)
        if float(spread[-1]) * _STRETCH > float(spread[0]):
            return []
        return ["Outputs of the spectral network are all but of lower rank, so making them orthonormal adds noise."]

    def fitted(self, y: Float[Tensor, "m k"]) -> Float[Tensor, "k k"]:
        """Return the weights that make these outputs orthonormal, and keep them."""
        weights = orthonormal_weights(y.detach() if self.rule.detach else y, self.rule)
        self.weights = weights.detach()
        return weights


def orthonormal_weights(y: Float[Tensor, "m k"], rule: Orthonormal) -> Float[Tensor, "k k"]:
    r"""Return :math:`A` with :math:`(YA)^\top YA / m = I`, in double precision; finite for any finite outputs.

    Parameters
    ----------
    y
        Outputs of a batch.
    rule
        How.

    References
    ----------
    Shaham et al. (2018), "SpectralNet", section 3.1. Yang et al. (2019), "Deep spectral clustering using dual
    autoencoder network", eq. 12.
    """
    y = y.double()
    m, k = y.shape
    gram = y.T @ y / m
    eye = torch.eye(k, dtype=y.dtype, device=y.device)
    with torch.no_grad():
        values = torch.linalg.eigvalsh(gram)
        mean = values.mean().clamp(min=1e-12)
        missing = (rule.floor * mean - values[0]).clamp(min=0)
    if rule.kind == "qr":
        # The factor of the outputs with a multiple of the identity below them: the same Gram matrix, no squaring.
        below = torch.cat([y, (m * missing).sqrt() * eye]) if missing > 0 else y
        r = torch.linalg.qr(below, mode="reduced").R
        return m**0.5 * torch.linalg.solve_triangular(r, eye, upper=True)
    lower = torch.linalg.cholesky(gram + missing * eye)
    weights = torch.linalg.solve_triangular(lower, eye, upper=False).mT
    if rule.kind == "whitening":
        # Turned by a constant into the symmetric root: equal eigenvalues would make the root's own gradient infinite.
        with torch.no_grad():
            spectrum, basis = torch.linalg.eigh(gram + missing * eye)
            turn = lower.mT @ (basis * spectrum.rsqrt()) @ basis.mT
        weights = weights @ turn
    return weights


def orthonormality_error(y: Float[Tensor, "m k"]) -> float:
    r"""Return the largest entry of :math:`|Y^\top Y / m - I|`."""
    with torch.no_grad():
        y = y.double()
        gap = y.T @ y / len(y) - torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
        return float(gap.abs().max())
