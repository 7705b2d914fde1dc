"""The page: summarise to a dict, draw charts, render. These never mix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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
    others: Sequence[npt.NDArray[np.int64]] = (),
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
    others : (n,) each
        Other partitions of the same rows, such as those of other seeds, that tell how stable clusters are.
    watch
        Called with what is being done and the share of it that is.
    """
    page = render(summarize(estimator, loaded, metrics, others=others, watch=watch), language=language)
    with atomic_file(path) as part:
        part.write_text(page, encoding="utf-8")
