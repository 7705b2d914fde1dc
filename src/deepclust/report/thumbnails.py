"""Small pictures of rows, all on one sheet that a page can cut up."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

_MOST = 10_000
_SIDE = 32  # pixels; larger images are shrunk to it
_BLOCK = 4096  # rows drawn between two signs of life

Array = npt.NDArray[Any]


class Sheet(NamedTuple):
    """Pictures of some rows, in lines of ``columns``.

    Attributes
    ----------
    rows : (m,) int64
        Which rows.
    width, height
        Of one picture, in pixels.
    columns
        Pictures in a line.
    uri
        The sheet, as text that a page can hold.
    """

    rows: npt.NDArray[np.int64]
    width: int
    height: int
    columns: int
    uri: str


def chosen_rows(n: int, *, most: int = _MOST, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the rows that get a picture: all, or as many as allowed at random."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def sheet_of(images: Array, rows: npt.NDArray[np.int64]) -> Sheet:
    """Lay images (m, h, w) or (m, h, w, 3) of bytes on one sheet."""
    height, width = images.shape[1:3]
    by = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * by)), max(1, round(height * by)))
    columns = max(1, min(len(images), 16_000 // size[0], int(np.ceil(np.sqrt(len(images))))))
    lines = -(-len(images) // columns)
    grey = images.ndim == 3
    page = Image.new("L" if grey else "RGB", (columns * size[0], lines * size[1]))
    for place, pixels in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        if by < 1:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        page.paste(picture, ((place % columns) * size[0], (place // columns) * size[1]))
    buffer = io.BytesIO()
    if grey:
        page.quantize(16).save(buffer, format="PNG", optimize=True)
    else:
        page.save(buffer, format="WEBP", quality=75)
    kind = "png" if grey else "webp"
    uri = f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
    return Sheet(rows, *size, columns, uri)


def pictures(rows: Any, *, watch: Callable[[str, float], None] | None = None) -> list[dict[str, Any]]:
    """Return every row's image as ``{"bytes": PNG, "path": None}``, grey or in colours, in its own size."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(rows), _BLOCK):
        x = rows.slice(start, start + _BLOCK).numpy()
        for pixels in as_bytes(x, rows.spec.low, rows.spec.high):
            buffer = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
            found.append({"bytes": buffer.getvalue(), "path": None})
        if watch:
            watch("drawing rows", len(found) / len(rows))
    return found


def as_bytes(x: Array, low: float, high: float) -> Array:
    """Make (n, c, h, w) in the data's range bytes of (n, h, w) or (n, h, w, 3)."""
    scaled = ((x.astype(np.float64) - low) / ((high - low) or 1.0) * 255).clip(0, 255).astype(np.uint8)
    return scaled.transpose(0, 2, 3, 1) if scaled.shape[1] == 3 else scaled[:, 0]
