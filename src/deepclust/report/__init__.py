"""The page: summarise to a dict, draw figures, render. These never mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepclust.atomic import atomic_file
from deepclust.report.render import render
from deepclust.report.summarize import summarize


def write_report(path: Path, estimator: Any, loaded: Any, metrics: dict[str, Any]) -> None:
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
    """
    page = render(summarize(estimator, loaded, metrics))
    with atomic_file(path) as part:
        part.write_text(page, encoding="utf-8")
