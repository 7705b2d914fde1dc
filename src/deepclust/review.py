"""What is done with finished runs: the page anew, names for clusters, a comparison, an explorer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepclust.assignments import rewrite_assignments
from deepclust.atomic import atomic_file
from deepclust.data.readers import Loaded, read_input
from deepclust.data.rows import as_rows
from deepclust.errors import InvalidDataError, RunFolderError
from deepclust.report import Language, write_report
from deepclust.report.compare import Compared, render_comparison, summarize_comparison
from deepclust.report.layout import lay_out
from deepclust.report.sheets import write_sheets
from deepclust.report.summarize import cluster_names, row_name
from deepclust.report.thumbnails import pictures
from deepclust.runs import ASSIGNMENTS, Run, measure, write_json


def write_run_report(
    run: Run,
    *,
    language: Language = "en",
    others: Sequence[Run] = (),
    out: Path | None = None,
    watch: Callable[[str, float], None] | None = None,
) -> Path:
    """Write the page of a finished run anew.

    Parameters
    ----------
    run
        A finished run whose input is still where it was.
    language
        ``"en"`` or ``"zh"``: what the page shows first.
    others
        Finished runs on the same rows, such as other seeds: the page tells how stable clusters are among them.
    out
        The file; None replaces the run's ``report.html``.
    watch
        Called with what is being done and the share of it that is.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunFolderError
        Where the run is not finished, or its input has another number of rows than it had.
    """
    for other in others:
        other.require_rows_of(run)
    model, partitions = run.load_model(), [other.load_model().labels_ for other in others]
    loaded = read_again(run, model, watch=watch)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    file = out or run.folder / "report.html"
    write_report(file, model, loaded, metrics, language=language, others=partitions, watch=watch)
    return file


def read_again(run: Run, model: Any, *, watch: Callable[[str, float], None] | None = None) -> Loaded:
    """Read the rows that a run's model was fitted on.

    Raises
    ------
    RunFolderError
        Where there are more or fewer than there were.
    """
    request, reading = run.request, (lambda share: watch("reading", share)) if watch else None
    loaded = read_input(request.source, request.read, encoder=run.load_encoder(), watch=reading)
    if len(loaded.X) != len(model.result_.labels):
        raise RunFolderError(
            f"{request.source} has {len(loaded.X):,} rows and had {len(model.result_.labels):,} when {run.folder} was "
            "made. Fit it again."
        )
    return loaded


def relabel_run(run: Run, names: Mapping[int, str], *, watch: Callable[[str, float], None] | None = None) -> bool:
    """Name clusters of a finished run, and join those of one name; the model, and with it `predict`, keep that.

    Parameters
    ----------
    run
        A finished run. Its model, assignments, measures and page are written anew.
    names
        From numbers of clusters to names.
    watch
        Called with what is being done and the share of it that is.

    Returns
    -------
    bool
        Whether the page was written, too: it needs the input where it was. Without, measures against labels go.
    """
    model = run.load_model().relabel(names)
    try:
        loaded: Loaded | None = read_again(run, model, watch=watch)
    except (InvalidDataError, RunFolderError):
        loaded = None
    result, folder = model.named_result(), run.folder
    model.save(folder / "model", overwrite=True)
    rewrite_assignments(folder / ASSIGNMENTS, result.labels, result.proba, model.naming_)
    metrics = measure(result, None if loaded is None else loaded.y)
    write_json(folder / "metrics.json", metrics)
    if loaded is None:
        return False
    write_report(folder / "report.html", model, loaded, metrics, watch=watch)
    write_sheets(folder, model, loaded.X)
    return True


def compare_runs(
    runs: Sequence[Run],
    out: Path,
    *,
    language: Language = "en",
    watch: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Write a page that sets finished runs on the same rows side by side.

    Parameters
    ----------
    runs
        Two or more; the others' clusters are matched with the first one's.
    out
        The page.
    language
        ``"en"`` or ``"zh"``: what the page shows first.
    watch
        Called with what is being done and the share of it that is.

    Returns
    -------
    dict
        What the page shows; ``"unread"`` says why rows have numbers and no pictures, where they do.

    Raises
    ------
    RunFolderError
        Where there are fewer than two runs, one is not finished, or they are not on the same rows.
    """
    if len(runs) < 2:
        raise RunFolderError(f"A comparison needs two runs at least. Got {len(runs)}.")
    for run in runs[1:]:
        run.require_rows_of(runs[0])
    models = [run.load_model() for run in runs]
    unread = None
    try:
        loaded: Loaded | None = read_again(runs[0], models[0], watch=watch)
    except (InvalidDataError, RunFolderError) as error:
        loaded, unread = None, str(error)
    rows = None if loaded is None else as_rows(loaded.X, channels=models[0].layout_.channels)
    names = _short_names([run.folder for run in runs])
    compared = [_compared(name, run, model) for name, run, model in zip(names, runs, models, strict=True)]
    summary = summarize_comparison(compared, rows, loaded, unread=unread)
    with atomic_file(out) as part:
        part.write_text(render_comparison(summary, language=language), encoding="utf-8")
    return summary


def _compared(name: str, run: Run, model: Any) -> Compared:
    result = model.named_result()
    return Compared(
        name=name,
        method=type(model).__name__,
        seed=int(result.provenance["seed"]),
        seconds=float(result.provenance["seconds"]),
        labels=result.labels,
        confidence=result.proba.max(axis=1),
        cluster_names=cluster_names(model),
        metrics=json.loads((run.folder / "metrics.json").read_text()),
    )


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' last names, or as much of their paths as tells them apart."""
    paths = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{parts[-1]} ({number})" for number, parts in enumerate(paths, start=1)]


def write_explorer_table(run: Run, *, watch: Callable[[str, float], None] | None = None) -> Path:
    """Write ``explore.parquet``: a line a row with its place on a map, cluster, probability, label and picture.

    Parameters
    ----------
    run
        A finished run whose input is still where it was.
    watch
        Called with what is being done and the share of it that is.

    Returns
    -------
    Path
        The file. ``image`` holds PNGs in the form that viewers of image tables expect, ``{bytes, path}``.
    """
    import pyarrow as pa
    from pyarrow import parquet

    model = run.load_model()
    loaded = read_again(run, model, watch=watch)
    rows = as_rows(loaded.X, channels=model.layout_.channels)
    result, names = model.named_result(), cluster_names(model)
    if watch:
        watch("laying out a map", 0.0)
    points = lay_out(result.embedding).points
    columns: dict[str, Any] = {
        "row": np.arange(len(rows), dtype=np.int64),
        "id": [row_name(loaded, row) for row in range(len(rows))],
        "x": points[:, 0],
        "y": points[:, 1],
        "cluster": [names[c] for c in result.labels.tolist()],
        "probability": result.proba.max(axis=1),
    }
    if loaded.y is not None:
        columns["label"] = [str(label) for label in np.asarray(loaded.y).tolist()]
    if rows.spec.is_image:
        columns["image"] = pictures(rows, watch=watch)
    file = run.folder / "explore.parquet"
    with atomic_file(file) as part:
        parquet.write_table(pa.table(columns), part)
    return file
