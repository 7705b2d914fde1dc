"""Changes that leave an image what it is: a network that does not care about them sees the groups more clearly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deepclust.data.rows import Rows, value_range
from deepclust.params import ADDED, AbstractParameters, NonNegativeFloat, ShareBelowOne
from deepclust.together import drawn

BEARABLE = 1 / 3  # so many changed images must stay as near as members of one cluster are
_CHANGED, _MOST_ROWS, _MOST_VALUES = 1_000, 20_000, 20_000_000  # of the sample that tells


@dataclass(frozen=True, repr=False)
class Affine(AbstractParameters):
    """Shift, turn and resize every image anew, by amounts drawn uniformly; what comes into view repeats the border.

    Parameters
    ----------
    shift
        Largest shift along either axis, as a share of the side.
    rotation
        Largest turn to either side, in degrees.
    scale
        Largest change of size, as a share.
    flip
        Mirror half of the images, left to right.
    careful
        Leave images as they are where their clusters are finer than such a change (`share_kept`), and flat rows;
        otherwise what is asked for is done, and flat rows are an error.

    References
    ----------
    Guo, Zhu, Liu, Yin (2018), "Deep embedded clustering with data augmentation", ACML: shift 0.1, rotation 10.
    """

    shift: ShareBelowOne = 0.1
    rotation: NonNegativeFloat = 10.0
    scale: ShareBelowOne = 0.0
    flip: bool = False
    careful: bool = field(default=False, metadata=ADDED)

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return changed images, drawn with torch's global generator of their device."""
        b, _, height, width = x.shape
        noise = drawn(lambda n: torch.rand(5, n, 1, 1, device=x.device), b, dim=1)
        angle, size, right, down, side = (2 * noise - 1).unbind()
        angle = angle * math.radians(self.rotation)
        size = 1 + size * self.scale
        mirror = torch.where(side < 0, -1.0, 1.0) if self.flip else torch.ones_like(side)
        # Coordinates run from -1 to 1 along either axis, so turning them needs the ratio of the sides.
        ratio = height / width
        cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
        first = torch.cat([mirror * cos, -mirror * sin * ratio, 2 * self.shift * right], dim=2)
        second = torch.cat([sin / ratio, cos, 2 * self.shift * down], dim=2)
        grid = F.affine_grid(torch.cat([first, second], dim=1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def share_kept(change: Affine, rows: Rows, k: int, *, seed: int) -> float:
    """Return how many changed images stay as near to what they were as an average cluster of images is wide.

    Where few do, the groups are finer than the change: faces that are told apart where they lie on each other are not,
    once one is moved by a tenth of its side. Images are compared by their directions from black, with no label.

    Parameters
    ----------
    change
        Drawn with torch's global generator.
    rows
        Images.
    k
        Number of clusters; an average one has a k-th of the rows.
    seed
        Of the sample that is looked at.
    """
    count = min(len(rows), _MOST_ROWS, max(k + 1, _MOST_VALUES // rows.spec.size))
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count]
    images = rows.gather(chosen).float() - value_range(rows.spec)[0]
    some = images[:_CHANGED]
    before, after = (F.normalize(part.flatten(1), dim=1) for part in (images, change.apply(some)))
    likeness = before[: len(some)] @ before.T
    likeness.fill_diagonal_(-1)
    width = likeness.topk(min(max(1, count // k - 1), count - 1), dim=1).values[:, -1]
    return float(((before[: len(some)] * after).sum(1) >= width).float().mean())
