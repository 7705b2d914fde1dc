"""Colours, shapes, and sheets of pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Array = npt.NDArray[Any]

# Okabe and Ito's colours, which colour-blind readers can tell apart; more clusters repeat them at other lightness.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8a7a00", "#6a3d9a", "#7f7f7f", "#8c2d04")

# One shape for every round through the colours, so that no reader needs to tell lighter from darker.
SHAPES = ("square", "circle", "triangle", "diamond", "cross", "plus", "wedge")


def shapes(k: int) -> list[str]:
    """Return the names of k shapes: with the colours of `palette`, no two of 70 clusters look alike."""
    return [SHAPES[i // len(COLOURS) % len(SHAPES)] for i in range(k)]


def palette(k: int) -> list[str]:
    """Return k colours."""
    return [_shade(COLOURS[i % len(COLOURS)], i // len(COLOURS)) for i in range(k)]


def _shade(colour: str, step: int) -> str:
    mix = (0.0, 0.35, -0.35, 0.6, -0.55, 0.2, -0.2)[step % 7]
    goal = 255 if mix > 0 else 0
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(p + (goal - p) * abs(mix)):02x}" for p in parts)


def contact_sheet(images: Array, *, columns: int | None = None, cell: int = 44, gap: int = 3) -> Image.Image:
    """Lay images (n, h, w) or (n, h, w, 3) of bytes on a sheet, enlarged without smoothing; gaps are clear."""
    n, height, width = images.shape[:3]
    columns = columns or n
    scale = max(1, cell // max(height, width))
    height, width = height * scale, width * scale
    lines = -(-n // columns)
    mode, clear = ("RGBA", (0, 0, 0, 0)) if images.ndim == 4 else ("LA", (0, 0))
    sheet = Image.new(mode, (columns * (width + gap) - gap, lines * (height + gap) - gap), clear)
    for i, pixels in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.NEAREST)
        picture = picture.convert(mode)
        sheet.paste(picture, ((i % columns) * (width + gap), (i // columns) * (height + gap)))
    return sheet


def captioned_sheet(lines: list[tuple[str, Array]], *, cell: int = 56, gap: int = 4) -> Image.Image:
    """Lay images out line by line on white, each line under its own caption.

    Parameters
    ----------
    lines
        Caption and images (n, h, w) or (n, h, w, 3) of bytes; a line may have no images.
    cell
        Least side of an image on the sheet, in pixels.
    gap
        Between images, in pixels.
    """
    font, margin, height = ImageFont.load_default(16), 16, 26
    sheets = [contact_sheet(images, cell=cell, gap=gap) if len(images) else None for _, images in lines]
    width = max([sheet.width for sheet in sheets if sheet] + [font.getbbox(text)[2] for text, _ in lines])
    tall = sum(height + (sheet.height if sheet else 0) + gap for sheet in sheets)
    page = Image.new("RGB", (round(width) + 2 * margin, tall + 2 * margin - gap), "white")
    pen, y = ImageDraw.Draw(page), margin
    for (text, _), sheet in zip(lines, sheets, strict=True):
        pen.text((margin, y), text, fill="black", font=font)
        y += height
        if sheet is not None:
            page.paste(sheet.convert("RGB"), (margin, y), sheet.getchannel("A"))
            y += sheet.height
        y += gap
    return page


def data_uri(picture: Image.Image) -> str:
    """Return a picture as text that a page can hold."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
