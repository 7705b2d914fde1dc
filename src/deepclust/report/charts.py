"""Charts as SVG text; they know numbers, not what clusters mean."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_DASHES = ("", "6 3", "2 3", "8 3 2 3")


def curves(series: dict[str, list[float]], colours: list[str], *, width: int = 420, height: int = 200) -> str:
    """Draw the curves of a phase over its epochs, each from its lowest to its highest value."""
    parts = [_open(width, height, ", ".join(series))]
    parts.append(f'<line class="axis" x1="8" y1="{height - 18}" x2="{width - 8}" y2="{height - 18}"/>')
    for number, (name, values) in enumerate(series.items()):
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        step = (width - 24) / max(1, len(values) - 1)
        at = [(12 + i * step, 12 + (height - 42) * (1 - (v - low) / span)) for i, v in enumerate(values)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        parts.append(
            f'<path class="curve" stroke="{colours[number % len(colours)]}" '
            f'stroke-dasharray="{_DASHES[number % len(_DASHES)]}" d="{path}"><title>{escape(name)}</title></path>'
        )
    return "".join(parts) + "</svg>"


def histogram(values: Array, *, bins: int = 20, width: int = 420, height: int = 180) -> str:
    """Draw how many values in [0, 1] fall into each of some equal bins."""
    counts, edges = np.histogram(values, bins=bins, range=(0.0, 1.0))
    top, step = max(1, int(counts.max())), (width - 24) / bins
    parts = [_open(width, height, "")]
    for i, count in enumerate(counts.tolist()):
        tall = (height - 34) * count / top
        parts.append(
            f'<rect class="column" x="{12 + i * step:.1f}" y="{height - 22 - tall:.1f}" width="{step - 1:.1f}" '
            f'height="{tall:.1f}"><title>{edges[i]:.2f}–{edges[i + 1]:.2f}: {count:,}</title></rect>'
        )
    for share in (0.0, 0.5, 1.0):
        parts.append(f'<text class="small" x="{12 + share * (width - 24):.0f}" y="{height - 6}">{share:g}</text>')
    return "".join(parts) + "</svg>"


def confusion(table: Array, rows: list[str], columns: list[str], *, cell: int = 34) -> str:
    """Draw a table of counts (labels by clusters) whose cells are the darker the larger their share of the row is."""
    left, top = 12 + 7 * max(len(name) for name in rows), 26
    width, height = left + cell * len(columns) + 4, top + cell * len(rows) + 4
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    parts = [_open(width, height, "")]
    for j, name in enumerate(columns):
        parts.append(_text(left + (j + 0.5) * cell, 16, name, "middle"))
    for i, name in enumerate(rows):
        y = top + i * cell
        parts.append(_text(left - 6, y + cell / 2 + 4, name, "end"))
        for j in range(len(columns)):
            x, dark = left + j * cell, float(share[i, j])
            place = f'x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}"'
            parts.append(f'<rect class="cell" {place} fill-opacity="{dark:.3f}"/>')
            if table[i, j]:
                kind = "on" if dark > 0.5 else "off"
                parts.append(_text(x + cell / 2 - 1, y + cell / 2 + 3, str(int(table[i, j])), "middle", kind))
    return "".join(parts) + "</svg>"


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="small {kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _open(width: float, height: float, name: str) -> str:
    """Begin a chart; one without a name is described by the text beside it."""
    known = f'role="img" aria-label="{escape(name, quote=True)}"' if name else 'aria-hidden="true"'
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" {known}>'
