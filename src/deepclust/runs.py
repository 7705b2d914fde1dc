"""A run folder: what was asked, how far it came, and what was found.

The folder is made whole, with the request inside, before training starts; the checkpoint grows while it runs; results
are written to files of their own, each in one step; ``run.json`` says "finished" last.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.atomic import atomic_file, atomic_folder
from deepclust.data.readers import Loaded, ReadOptions, read_input
from deepclust.data.tables import TableEncoder
from deepclust.engine import Callback, Trainer
from deepclust.engine.inference import CHUNK
from deepclust.errors import InvalidDataError, ModelFormatError, RunFolderError
from deepclust.methods import find_method, load
from deepclust.metrics import external_metrics, internal_metrics
from deepclust.report import Language, write_report
from deepclust.report.sheets import write_sheets

FORMAT = "deepclust-run"
VERSION = 1


@dataclass(frozen=True)
class Request:
    """What a fit was asked, as plain JSON."""

    source: str
    method: str
    n_clusters: int
    seed: int = 0
    device: str = "auto"
    epochs: int | None = None
    max_seconds: float | None = None
    params: dict[str, Any] = field(default_factory=dict)
    read: ReadOptions = field(default_factory=ReadOptions)

    def estimator(self, trainer: Trainer) -> Any:
        """Make the estimator that was asked for."""
        estimator = find_method(self.method)(self.n_clusters, random_state=self.seed, trainer=trainer)
        if self.epochs is not None:
            estimator.set_params(schedule__epochs=self.epochs)
        return estimator.set_params(**self.params)


@dataclass(frozen=True)
class Run:
    """A run folder on disk."""

    folder: Path

    @property
    def request(self) -> Request:
        """What was asked."""
        asked = self._read()["request"]
        read = asked["read"]
        size = read["image_size"]
        options = ReadOptions(**{**read, "image_size": None if size is None else tuple(size)})
        return Request(**{**asked, "read": options})

    @property
    def is_finished(self) -> bool:
        """Whether all results are there."""
        return bool(self._read()["status"] == "finished")

    def _read(self) -> dict[str, Any]:
        file = self.folder / "run.json"
        if not file.is_file():
            raise RunFolderError(f"{self.folder} is not a run folder: it has no run.json.")
        try:
            state = json.loads(file.read_text())
        except ValueError as error:
            raise RunFolderError(f"{file} is corrupted: it is not JSON ({error}).") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT or state.get("version") != VERSION:
            raise RunFolderError(f"{file} is not of a run that this version of deepclust made.")
        return state

    def load_model(self) -> Any:
        """Load the trained estimator.

        Raises
        ------
        RunFolderError
            Where the run is not finished.
        """
        if not self.is_finished:
            raise RunFolderError(f"{self.folder} is not finished. Go on with: deepclust fit --resume {self.folder}")
        return load(self.folder / "model")

    def load_encoder(self) -> TableEncoder | None:
        """Load how the table was made into numbers, where the input was one."""
        file = self.folder / "table.json"
        if not file.is_file():
            return None
        try:
            columns = json.loads(file.read_text())["columns"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFormatError(f"{file} is corrupted.") from error
        encoder = TableEncoder()
        encoder.columns_ = columns
        return encoder


def create_run(folder: Path, request: Request, *, overwrite: bool = False) -> Run:
    """Make a run folder that holds the request; an existing one is replaced only on demand.

    Raises
    ------
    RunFolderError
        Where the folder exists.
    """
    if folder.exists():
        if not overwrite:
            hint = "Resume it with --resume, choose another --out, or pass --overwrite."
            raise RunFolderError(f"{folder} exists. {hint}")
        if not (folder / "run.json").is_file():
            raise RunFolderError(f"{folder} is not a run folder, so it is not overwritten. Choose another --out.")
    with atomic_folder(folder) as part:
        _write_state(part, request, "running")
    return Run(folder)


def perform(
    run: Run,
    *,
    callbacks: tuple[Callback, ...] = (),
    watch: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Carry out a run, from the start or from where it was left, and write its results.

    Returns
    -------
    dict
        The metrics.
    """
    request = run.request
    loaded = read_input(request.source, request.read, watch=(lambda s: watch("reading", s)) if watch else None)
    trainer = Trainer(
        device=request.device,  # type: ignore[arg-type]
        max_seconds=request.max_seconds,
        checkpoint_dir=run.folder / "checkpoint",
        callbacks=callbacks,
    )
    estimator = request.estimator(trainer).fit(loaded.X)
    metrics = measure(estimator.result_, loaded.y)
    _write_results(run, request, loaded, estimator, metrics, watch)
    return metrics


def measure(result: Any, y: npt.NDArray[Any] | None) -> dict[str, Any]:
    """Return internal metrics always, external ones of start and end where there are labels."""
    metrics: dict[str, Any] = {"internal": internal_metrics(result.embedding, result.labels, result.proba)}
    if y is not None:
        metrics["external"] = external_metrics(y, result.labels)
        if result.start_labels is not None:
            metrics["start"] = external_metrics(y, result.start_labels)
    return metrics


def _write_results(
    run: Run,
    request: Request,
    loaded: Loaded,
    estimator: Any,
    metrics: dict[str, Any],
    watch: Callable[[str, float], None] | None,
) -> None:
    folder, result = run.folder, estimator.result_
    estimator.save(folder / "model", overwrite=(folder / "model").exists())
    if loaded.encoder is not None:
        _write_json(folder / "table.json", {"columns": loaded.encoder.columns_})
    write_assignments(folder / "assignments.parquet", loaded, result.labels, result.proba)
    with atomic_file(folder / "embedding.npy") as part, part.open("wb") as file:
        np.save(file, result.embedding)
    _write_json(folder / "history.json", result.history)
    _write_json(folder / "metrics.json", metrics)
    provenance = {**result.provenance, "input": request.source, "events": result.events, "notes": loaded.notes}
    _write_json(folder / "provenance.json", provenance)
    write_report(folder / "report.html", estimator, loaded, metrics, watch=watch)
    write_sheets(folder, estimator, loaded.X)
    _write_state(folder, request, "finished")
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def write_run_report(
    run: Run, *, language: Language = "en", out: Path | None = None, watch: Callable[[str, float], None] | None = None
) -> Path:
    """Write the page of a finished run anew.

    Parameters
    ----------
    run
        A finished run whose input is still where it was.
    language
        ``"en"`` or ``"zh"``: what the page shows first.
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
    model, request = run.load_model(), run.request
    reading = (lambda share: watch("reading", share)) if watch else None
    loaded = read_input(request.source, request.read, encoder=run.load_encoder(), watch=reading)
    if len(loaded.X) != len(model.result_.labels):
        raise RunFolderError(
            f"{request.source} has {len(loaded.X):,} rows and had {len(model.result_.labels):,} when {run.folder} was "
            "made. Fit it again."
        )
    metrics = json.loads((run.folder / "metrics.json").read_text())
    file = out or run.folder / "report.html"
    write_report(file, model, loaded, metrics, language=language, watch=watch)
    return file


def write_assignments(path: Path, loaded: Loaded, labels: npt.NDArray[np.int64], proba: npt.NDArray[Any]) -> None:
    """Write one line a row: row, path or id, cluster, probability; Parquet, or CSV by the file's suffix."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    columns: dict[str, Any] = {"row": np.arange(len(labels), dtype=np.int64)}
    if loaded.ids is not None and loaded.id_name is not None:
        columns[loaded.id_name] = loaded.ids
    columns |= {"cluster": labels, "probability": proba.max(axis=1)}
    table = pa.table(columns)
    with atomic_file(path) as part:
        if path.suffix == ".csv":
            csv.write_csv(table, part)
        else:
            parquet.write_table(table, part)


_BLOCK = 32 * CHUNK  # rows predicted between two signs of life


def predict_run(
    run: Run, source: str, read: ReadOptions | None = None, *, watch: Callable[[str, float], None] | None = None
) -> tuple[Loaded, Any, Any]:
    """Read new input as the run's was read, and assign its rows.

    Parameters
    ----------
    run
        A finished run.
    source
        What the user named.
    read
        How to read it; None reads as the run did.
    watch
        Called with what is being done and the share of it that is.

    Returns
    -------
    loaded, labels, proba
    """
    model = run.load_model()
    options = read or run.request.read
    fitted_on_images = len(model.layout_.shape) >= 2
    if fitted_on_images and options.image_size is None:
        height, width = model.spec_.shape[1:]
        grey = model.spec_.shape[0] == 1
        options = dataclasses.replace(options, image_size=(height, width), image_mode="grey" if grey else "rgb")
    encoder = run.load_encoder()
    reading = (lambda share: watch("reading", share)) if watch else None
    loaded = read_input(source, dataclasses.replace(options, labels=None), encoder=encoder, watch=reading)
    n = len(loaded.X)
    if n == 0:
        raise InvalidDataError(f"{source} has no rows.")
    parts = []
    for start in range(0, n, _BLOCK):
        parts.append(model.predict_proba(loaded.X[start : start + _BLOCK]))
        if watch:
            watch("assigning", min(1.0, (start + _BLOCK) / n))
    proba = np.concatenate(parts)
    return loaded, proba.argmax(axis=1), proba


def _write_state(folder: Path, request: Request, status: str) -> None:
    state = {"format": FORMAT, "version": VERSION, "status": status, "request": dataclasses.asdict(request)}
    _write_json(folder / "run.json", state)


def _write_json(path: Path, content: Any) -> None:
    with atomic_file(path) as part:
        part.write_text(json.dumps(content, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")
