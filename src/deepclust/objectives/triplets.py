"""Rows of one cluster nearer to each other than to rows of others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Triplets(NamedTuple):
    """Row numbers within a batch."""

    anchor: Int64[Tensor, " t"]
    positive: Int64[Tensor, " t"]
    negative: Int64[Tensor, " t"]


def triplet_loss(
    z: Float[Tensor, "b d"], triplets: Triplets, *, gamma: float = 1.0, margin: float = 0.2
) -> Float[Tensor, ""]:
    r"""Return the mean weighted triplet loss, zero where there is no triplet.

    .. math:: \max(0, \gamma \lVert a - p \rVert^2 - \lVert a - n \rVert^2 + m)

    Parameters
    ----------
    z
        Features.
    triplets
        Rows of the batch.
    gamma, margin
        Weight of the near side, and the margin.

    References
    ----------
    Yang, Parikh, Batra (2016), eq. 15.
    """
    if len(triplets.anchor) == 0:
        return (z * 0).sum()
    anchor = z[triplets.anchor]
    near = (anchor - z[triplets.positive]).square().sum(1)
    far = (anchor - z[triplets.negative]).square().sum(1)
    return torch.relu(gamma * near - far + margin).mean()


def pair_triplets(labels: Int64[Tensor, " b"], negatives: int) -> Triplets:
    """Take every pair of rows of one cluster, each with distinct rows of other clusters.

    Random numbers come from torch's global generator.

    Parameters
    ----------
    labels
        Clusters of a batch.
    negatives
        Rows of other clusters for each pair; fewer where the batch has fewer.
    """
    same = labels[:, None] == labels[None]
    first, second = torch.nonzero(torch.triu(same, diagonal=1), as_tuple=True)
    others = (~same).sum(1)
    usable = others[first] > 0
    first, second = first[usable], second[usable]
    count = min(negatives, int(others[first].min())) if len(first) else 0
    if count == 0:
        empty = torch.empty(0, dtype=torch.int64, device=labels.device)
        return Triplets(empty, empty, empty)
    order = torch.rand(len(first), len(labels), device=labels.device).masked_fill_(same[first], 2.0)
    chosen = order.topk(count, dim=1, largest=False).indices
    return Triplets(first.repeat_interleave(count), second.repeat_interleave(count), chosen.flatten())
