"""A batched forward pass over all rows; prediction, embedding and every whole-data step go through it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepclust.data import stored
from deepclust.data.rows import Rows
from deepclust.networks.scaler import Scaler
from deepclust.together import in_order, share_of, world_size

CHUNK = 256  # rows; fixed and padded, so that a row's result does not depend on how many come with it


@torch.inference_mode()
def map_rows(
    fn: Callable[[Tensor], Any],
    rows: Rows,
    scaler: Scaler,
    model: nn.Module,
    *,
    device: str = "cpu",
    watch: Callable[[float], None] | None = None,
    span: tuple[int, int] | None = None,
) -> Any:
    """Apply a function of scaled rows to all rows, in order, with the model in evaluation mode, in fp32.

    Parameters
    ----------
    fn
        Maps ``(b, *shape)`` to a tensor of b rows, or to a tuple of such.
    rows, scaler
        The data and their first layer.
    model
        Whose mode is set to evaluation for the time being.
    device
        Where the model is.
    watch
        Called with the share that is done.
    span
        Row numbers to begin with and to end before, the first a multiple of `CHUNK`; None is all rows.

    Returns
    -------
    Tensor or tuple of tensors
        On the CPU, one row each; where a column takes more than 1 GiB, mapped from an unnamed temporary file.
    """
    first, last = span or (0, len(rows))
    training = model.training
    model.eval()
    columns: tuple[Tensor, ...] = ()
    single = True
    try:
        for start in range(first, last, CHUNK):
            x = scaler(rows.slice(start, min(last, start + CHUNK)))
            b = len(x)
            if b < CHUNK:
                x = torch.cat([x, x[-1:].expand(CHUNK - b, *x.shape[1:])])
            out = fn(x.to(device))
            single = isinstance(out, Tensor)
            found = (out,) if single else out
            columns = columns or tuple(_room(last - first, y) for y in found)
            for column, y in zip(columns, found, strict=True):
                column[start - first : start - first + b] = y[:b]
            if watch:
                watch((start + b - first) / (last - first))
    finally:
        model.train(training)
    return columns[0] if single else columns


def _room(rows: int, like: Tensor) -> Tensor:
    """Return where so many rows like these can be written; on disk, whose room is taken at once, if they are large."""
    shape = (rows, *like.shape[1:])
    size = rows * like[0].numel() * like.element_size()
    if size <= stored.IN_MEMORY:
        return torch.empty(shape, dtype=like.dtype)
    with tempfile.TemporaryFile(prefix="deepclust-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error now, and no fault in the map later
        else:
            file.truncate(size)
        kind = torch.empty(0, dtype=like.dtype).numpy().dtype
        return torch.from_numpy(np.memmap(file, dtype=kind, mode="r+", shape=shape))


def map_rows_together(fn: Callable[[Tensor], Any], rows: Rows, *others: Any, **options: Any) -> Any:
    """Do the same with a part of the rows in every process of the run; each gets the whole, in order."""
    n = len(rows)
    share = share_of(-(-n // CHUNK))
    if world_size() == 1 or min(share.sizes) == 0:
        return map_rows(fn, rows, *others, **options)
    ends = [0]
    for chunks in share.sizes:
        ends.append(min(n, ends[-1] + chunks * CHUNK))
    out = map_rows(fn, rows, *others, **options, span=(ends[share.rank], ends[share.rank + 1]))
    sizes = tuple(b - a for a, b in pairwise(ends))
    return in_order(out, sizes) if isinstance(out, Tensor) else tuple(in_order(column, sizes) for column in out)
