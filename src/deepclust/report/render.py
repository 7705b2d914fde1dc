"""From a summary to a page."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deepclust.report.figures import _BASE, contact_sheet, data_uri, lines, palette, scatter


def render(summary: dict[str, Any]) -> str:
    """Return the page's HTML; it loads nothing from anywhere."""
    environment = Environment(
        loader=PackageLoader("deepclust.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sheet"] = lambda images: data_uri(contact_sheet(images))
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    environment.filters["number"] = _number
    colours = palette(summary["k"])
    chart = summary["map"]
    return environment.get_template("report.html.j2").render(
        **summary,
        colours=colours,
        curve_colours=_BASE,
        chart=Markup(scatter(chart["points"], chart["labels"], colours)),
        plots=[Markup(lines(curve["terms"])) for curve in summary["curves"]],
        largest=max(card["size"] for card in summary["clusters"]),
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
