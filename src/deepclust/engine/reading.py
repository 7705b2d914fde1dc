"""The rows of one step after the other; those on disk are read while the step before is computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from torch import Tensor

from deepclust.data.rows import Rows
from deepclust.together import Share, share_of


class Read(NamedTuple):
    """What a step needs.

    Attributes
    ----------
    step : int
        In its epoch.
    numbers : (b,)
        Of this process's rows.
    x : (b, *shape)
        The rows, in the user's units.
    share : Share
        Which of the step's rows they are.
    """

    step: int
    numbers: Tensor
    x: Tensor
    share: Share


def read_steps(rows: Rows, batches: Iterator[Tensor], first: int) -> Iterator[Read]:
    """Yield the steps of an epoch.

    Parameters
    ----------
    rows
        All of them.
    batches
        Row numbers of each step, over all processes.
    first
        The step to begin with.
    """

    def read(step: int, index: Tensor) -> Read:
        share = share_of(len(index))
        index = index[share.start : share.stop]
        return Read(step, index, rows.gather(index), share)

    wanted = ((step, index) for step, index in enumerate(batches) if step >= first)
    if not rows.is_stored:
        for step, index in wanted:
            yield read(step, index)
        return
    with ThreadPoolExecutor(1) as reader:
        ahead = None
        for step, index in wanted:
            ahead, ready = reader.submit(read, step, index), ahead
            if ready is not None:
                yield ready.result()
        if ahead is not None:
            yield ahead.result()
