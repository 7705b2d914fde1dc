"""From a summary to a page."""

from __future__ import annotations

import base64
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deepclust.report.charts import confusion, curves, histogram
from deepclust.report.figures import COLOURS, contact_sheet, data_uri, palette, shapes
from deepclust.report.summarize import percent
from deepclust.report.texts import LANGUAGES, plain, speak, texts


def render(summary: dict[str, Any], *, language: str = "en") -> str:
    """Return the page's HTML; it loads nothing from anywhere.

    Parameters
    ----------
    summary
        As `summarize` returns it.
    language
        That the page shows first; a button switches.
    """
    colours, marks = palette(summary["k"]), shapes(summary["k"])
    table = summary["confusion"]
    return (
        pages(language)
        .get_template("report.html.j2")
        .render(
            **summary,
            lang=language,
            colours=colours,
            marks=marks,
            base=COLOURS,
            largest=max(card["size"] for card in summary["clusters"]),
            histogram=Markup(histogram(summary["confidence"])),
            plots=[Markup(curves(curve["terms"], list(COLOURS))) for curve in summary["curves"]],
            confusion_chart=Markup(confusion(table["table"], table["labels"], table["clusters"])) if table else "",
            map_data=_map_data(summary["map"], colours, marks),
            style=Markup(asset("style.css")),
            script=Markup(asset("page.js")),
        )
    )


def pages(language: str) -> Environment:
    """Return what makes pages of templates, with values escaped and texts in every language."""
    environment = Environment(
        loader=PackageLoader("deepclust.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "sheet": lambda images: data_uri(contact_sheet(images)),
        "percent": percent,
        "number": _number,
    }
    environment.globals |= {"t": speak, "plain": partial(plain, language=language)}
    return environment


def _map_data(chart: dict[str, Any], colours: list[str], marks: list[str]) -> dict[str, Any]:
    """Pack the map's columns as text: coordinates in 16 bits, probabilities in 8."""
    points = chart["points"].astype(np.float64)
    low, high = np.percentile(points, 0.2, axis=0), np.percentile(points, 99.8, axis=0)
    span = np.where(high > low, high - low, 1.0)
    place = (((points - low) / span).clip(-0.02, 1.02) * 0.92 + 0.04) * 65535  # one scale an axis, and a margin
    rows, sheet = chart["rows"], chart["sheet"]
    data = {
        "x": _packed(place[:, 0].clip(0, 65535), np.uint16),
        "y": _packed(place[:, 1].clip(0, 65535), np.uint16),
        "cluster": _packed(chart["labels"], np.uint16),
        "probability": _packed(255 * chart["probability"], np.uint8),
        "colours": colours,
        "shapes": marks,
        "names": chart["names"],
        "ids": chart["ids"],
        "labels": chart["truth"],
        "rows": None if len(rows) == rows[-1] + 1 else rows.tolist(),
        "thumbs": None,
        "texts": {
            lang: {key: said[lang] for key, said in texts().items() if key.startswith("tip_")} for lang in LANGUAGES
        },
    }
    if sheet is not None:
        data["thumbs"] = {
            "rows": _packed(np.searchsorted(rows, sheet.rows), np.uint32),
            "width": sheet.width,
            "height": sheet.height,
            "columns": sheet.columns,
            "uri": sheet.uri,
        }
    return data


def _packed(values: npt.NDArray[Any], dtype: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def asset(name: str) -> str:
    """Return the text of a file that pages are made of."""
    return files("deepclust.report").joinpath("templates", name).read_text(encoding="utf-8")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
