"""Two views of rows side by side: what a network made of them, and the rows themselves."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

_COMPONENTS = 50


class PrincipalView(NamedTuple):
    """Rows of unit length on their first principal components.

    Attributes
    ----------
    origin : (p,)
        Where rows are seen from: it is subtracted before they are brought to unit length.
    axes : (p, q)
        Principal components.
    """

    origin: Float[Tensor, " p"]
    axes: Float[Tensor, "p q"]

    def coordinates(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b q"]:
        """Return the coordinates of rows."""
        return F.normalize(x.float().flatten(1) - self.origin.to(x.device), dim=1) @ self.axes.to(x.device)


def principal_view(
    sample: Float[Tensor, "m p"],
    *,
    seed: int,
    components: int = _COMPONENTS,
    origin: Float[Tensor, " p"] | None = None,
) -> PrincipalView:
    """Fit the view on a sample of rows.

    Parameters
    ----------
    sample
        Rows, flat.
    seed
        Of the randomised solver that wide rows need.
    components
        At most so many are kept.
    origin
        Where rows are seen from; None takes their mean. From a black image, brightness drops out.
    """
    origin = sample.mean(dim=0) if origin is None else origin
    unit = F.normalize(sample - origin, dim=1).double().numpy()
    axes = PCA(min(components, *unit.shape), random_state=seed).fit(unit).components_
    return PrincipalView(origin, torch.from_numpy(axes.T.copy()).float())


def side_by_side(*views: Float[Tensor, "n _"]) -> Float[Tensor, "n d"]:
    """Join views of the same rows, each centred and with a total variance of one."""
    parts = []
    for view in views:
        centred = view.double() - view.double().mean(dim=0)
        variance = centred.square().mean(dim=0).sum()
        parts.append(centred / variance.sqrt().clamp(min=1e-30))
    return torch.cat(parts, dim=1)
