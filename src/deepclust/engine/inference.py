"""A batched forward pass over all rows; prediction, embedding and every whole-data step go through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deepclust.data.rows import Rows
from deepclust.networks.scaler import Scaler

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

    Returns
    -------
    Tensor or tuple of tensors
        On the CPU, one row each.
    """
    training = model.training
    model.eval()
    parts: list[tuple[Tensor, ...]] = []
    single = True
    try:
        for start in range(0, len(rows), CHUNK):
            x = scaler(rows.slice(start, start + CHUNK))
            b = len(x)
            if b < CHUNK:
                x = torch.cat([x, x[-1:].expand(CHUNK - b, *x.shape[1:])])
            out = fn(x.to(device))
            single = isinstance(out, Tensor)
            parts.append(tuple(y[:b].cpu() for y in ((out,) if single else out)))
            if watch:
                watch((start + b) / len(rows))
    finally:
        model.train(training)
    columns = tuple(torch.cat(column) for column in zip(*parts, strict=True))
    return columns[0] if single else columns
