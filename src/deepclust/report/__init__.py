"""The page: summarise to a dict, draw charts, render. These never mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from deepclust.atomic import atomic_file
from deepclust.report.render import render
from deepclust.report.summarize import Watch, summarize

Language = Literal["en", "zh"]


def write_report(
    path: Path,
    estimator: Any,
    loaded: Any,
    metrics: dict[str, Any],
    *,
    language: Language = "en",
    watch: Watch | None = None,
) -> None:
    """Write one self-contained HTML file about a fitted estimator.

    Parameters
    ----------
    path
        The file.
    estimator
        Fitted on ``loaded.X``.
    loaded
        Rows with what identifies them.
    metrics
        As in ``metrics.json``.
    language
        That the page shows first; it holds both.
    watch
        Called with what is being done and the share of it that is.
    """
    page = render(summarize(estimator, loaded, metrics, watch=watch), language=language)
    with atomic_file(path) as part:
        part.write_text(page, encoding="utf-8")
