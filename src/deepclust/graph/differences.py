"""Differences of neighbouring rows: how rows of a group vary, with no need to know the groups or a unit."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from deepclust.data.batch import send
from deepclust.graph.neighbours import nearest_neighbors
from deepclust.together import drawn

_NEAREST, _MOST, _MOST_VALUES = 10, 4_096, 20_000_000


def neighbor_differences(rows: Float[Tensor, "n d"], seed: int) -> Float[Tensor, "m d"]:
    """Return the difference of a row to one of its ten nearest, of 4,096 rows at most, fewer of very wide ones.

    Parameters
    ----------
    rows
        At least two.
    seed
        Which rows, and which neighbours.
    """
    generator = torch.Generator().manual_seed(seed)
    most = max(1, min(_MOST, _MOST_VALUES // rows.shape[1]))
    chosen = torch.randperm(len(rows), generator=generator)[:most]
    _, found = nearest_neighbors(rows.numpy(), _NEAREST, rows=chosen.numpy())
    place = torch.randint(found.shape[1], (len(chosen), 1), generator=generator)
    other = torch.from_numpy(found).gather(1, place).squeeze(1)
    return rows[other] - rows[chosen]


def moved(x: Float[Tensor, "b *shape"], differences: Float[Tensor, "m d"], times: float) -> Float[Tensor, "b *shape"]:
    """Return rows, each moved by a difference drawn with torch's global generator, so many times."""
    pick = drawn(lambda n: torch.randint(len(differences), (n,)), len(x))
    return x + times * send(differences[pick], x.device).view_as(x)
