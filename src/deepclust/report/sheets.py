"""The two pictures of a generative clustering: real members of every cluster, and samples drawn from it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.atomic import atomic_file
from deepclust.data.rows import as_rows
from deepclust.model import AbstractGenerativeModel
from deepclust.report.figures import captioned_sheet
from deepclust.report.summarize import cluster_names, rows_as_bytes
from deepclust.report.thumbnails import as_bytes

_ACROSS = 16  # images a line
_MOST = 100  # clusters on a sheet
_THRESHOLD = 0.9


def write_sheets(folder: Path, estimator: Any, X: Any, *, threshold: float | None = _THRESHOLD) -> list[Path]:
    """Write ``members.png`` and, where the model generates, ``samples.png``; nothing for rows that are not images.

    Parameters
    ----------
    folder
        Where to.
    estimator
        Fitted.
    X
        The rows that it was fitted on.
    threshold
        Samples are drawn with this filter, see ``sample``.

    Returns
    -------
    list of Path
        What was written.
    """
    rows = as_rows(X, channels=estimator.layout_.channels)
    if not rows.spec.is_image:
        return []
    labels, names = estimator.labels_, cluster_names(estimator)
    home = range(len(names)) if estimator.naming_ is None else estimator.naming_.into
    clusters = [cluster for cluster in range(len(names)) if home[cluster] == cluster][:_MOST]
    rng = np.random.default_rng(0)
    lines = []
    for cluster in clusters:
        members = np.flatnonzero(labels == cluster)
        chosen = rng.permutation(members)[:_ACROSS]  # any members, not the best: the picture should be fair
        caption = f"cluster {names[cluster]}: {len(members):,} of {len(labels):,} rows"
        lines.append((caption, rows_as_bytes(rows, chosen) if len(chosen) else np.empty((0, 1, 1))))
    written = [_write(folder / "members.png", lines)]
    if isinstance(estimator.model_, AbstractGenerativeModel):
        drawn = [_draw(estimator, cluster, names[cluster], threshold) for cluster in clusters]
        written.append(_write(folder / "samples.png", drawn))
    return written


def _draw(estimator: Any, cluster: int, name: str, threshold: float | None) -> tuple[str, npt.NDArray[Any]]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The filter")  # the caption says it
        drawn = estimator.sample(_ACROSS, cluster, threshold=threshold, random_state=cluster)
    caption = f"drawn from cluster {name}"
    if drawn.acceptance is not None:
        caption += f"; {100 * drawn.acceptance[cluster]:.0f} % of draws passed the filter"
    x = estimator.layout_.to_network(drawn.X)
    images = as_bytes(x, estimator.spec_.low, estimator.spec_.high) if len(drawn.X) else np.empty((0, 1, 1))
    return caption, images


def _write(path: Path, lines: list[tuple[str, npt.NDArray[Any]]]) -> Path:
    with atomic_file(path) as part:
        captioned_sheet(lines).save(part, format="PNG", optimize=True)
    return path
