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

from deepclust import together
from deepclust.assignments import write_assignments
from deepclust.atomic import atomic_file, atomic_folder
from deepclust.data.readers import Loaded, ReadOptions, read_input
from deepclust.data.tables import TableEncoder
from deepclust.engine import Callback, Trainer
from deepclust.engine.inference import CHUNK
from deepclust.errors import InvalidDataError, ModelFormatError, RunFolderError
from deepclust.methods import find_method, load
from deepclust.metrics import external_metrics, internal_metrics
from deepclust.naming import Naming
from deepclust.params import check_parameters
from deepclust.report import write_report
from deepclust.report.sheets import write_sheets

FORMAT = "deepclust-run"
VERSION = 1
ASSIGNMENTS = "assignments.parquet"


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
    pretrain_on: str | None = None

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
        asked: Any = self._read().get("request")
        try:
            read = asked["read"]
            size = read["image_size"]
            options = ReadOptions(**{**read, "image_size": None if size is None else tuple(size)})
            request = Request(**{**asked, "read": options})
            for part in (options, request):
                check_parameters(part)
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{self.folder / 'run.json'} is corrupted: its request is not whole ({error})."
            ) from error
        return request

    @property
    def is_finished(self) -> bool:
        """Whether all results are there."""
        return bool(self._read().get("status") == "finished")

    def _read(self) -> dict[str, Any]:
        file = self.folder / "run.json"
        if not file.is_file():
            raise RunFolderError(f"{self.folder} is not a run folder: it has no run.json.")
        try:
            state = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise RunFolderError(f"{file} is corrupted: it is not JSON ({error}).") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT or state.get("version") != VERSION:
            raise RunFolderError(f"{file} is not of a run that this version of deepclust made.")
        return state

    def _require_finished(self) -> None:
        if not self.is_finished:
            raise RunFolderError(f"{self.folder} is not finished. Go on with: deepclust fit --resume {self.folder}")

    def load_model(self) -> Any:
        """Load the trained estimator.

        Raises
        ------
        RunFolderError
            Where the run is not finished.
        """
        self._require_finished()
        return load(self.folder / "model")

    def require_rows_of(self, other: Run) -> None:
        """Refuse a run that was not made on the same rows as this one.

        Raises
        ------
        RunFolderError
            Naming both, or the one that is not finished.
        """
        ours, theirs = (run.provenance()["data_sha256"] for run in (self, other))
        if ours != theirs:
            raise RunFolderError(
                f"{self.folder} and {other.folder} were not made on the same rows, so their clusters cannot be "
                "compared. Fit both on the same input, read in the same way."
            )

    def provenance(self) -> dict[str, Any]:
        """Return where a finished run came from."""
        self._require_finished()
        try:
            content: dict[str, Any] = json.loads((self.folder / "provenance.json").read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(f"{self.folder} has no readable provenance.json: {error}.") from error
        return content

    def load_encoder(self) -> TableEncoder | None:
        """Load how the table was made into numbers, where the input was one."""
        file = self.folder / "table.json"
        if not file.is_file():
            return None
        try:
            return TableEncoder.of(json.loads(file.read_bytes())["columns"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFormatError(f"{file} is corrupted: it does not tell how a table is read.") from error


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
    with atomic_folder(folder) as part:  # a part of its own inside this one would be two remains of one kill
        (part / "run.json").write_text(_as_json(_state(request, "running")))
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
        The metrics; empty in all but the first of several processes, which alone writes.
    """
    request = run.request
    reading = (lambda share: watch("reading", share)) if watch else None
    loaded = read_input(request.source, request.read, watch=reading)
    others = None
    if request.pretrain_on is not None:
        more = read_input(request.pretrain_on, _read_like(loaded, request.read), encoder=loaded.encoder, watch=reading)
        others = more.X
        told = [f"{note} (rows to learn from)" for note in more.notes]
        loaded = dataclasses.replace(loaded, notes=[*loaded.notes, *told])
    trainer = Trainer(
        device=request.device,  # type: ignore[arg-type]
        max_seconds=request.max_seconds,
        checkpoint_dir=run.folder / "checkpoint",
        callbacks=callbacks,
    )
    estimator = request.estimator(trainer).fit(loaded.X, pretrain_on=others)
    if not together.is_first():
        return {}
    metrics = measure(estimator.result_, loaded.y)
    _write_results(run, request, loaded, estimator, metrics, watch)
    return metrics


def _read_like(loaded: Loaded, read: ReadOptions) -> ReadOptions:
    """Say how rows that only the network is to learn from are read, so that they are like those that were."""
    read = dataclasses.replace(read, labels=None, id_column=None)
    if loaded.id_name != "path":
        return read
    height, width, *colours = loaded.X.shape[1:]
    return dataclasses.replace(read, image_size=(height, width), image_mode="rgb" if colours else "grey")


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
        write_json(folder / "table.json", {"columns": loaded.encoder.columns_})
    write_assignments(folder / ASSIGNMENTS, loaded, result.labels, result.proba)
    with atomic_file(folder / "embedding.npy") as part, part.open("wb") as file:
        np.save(file, result.embedding)
    write_json(folder / "history.json", result.history)
    write_json(folder / "metrics.json", metrics)
    provenance = {
        **result.provenance,
        "input": request.source,
        "pretrain_on": request.pretrain_on,
        "events": result.events,
        "notes": loaded.notes,
    }
    write_json(folder / "provenance.json", provenance)
    write_report(folder / "report.html", estimator, loaded, metrics, watch=watch)
    write_sheets(folder, estimator, loaded.X)
    write_json(folder / "run.json", _state(request, "finished"))
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


_BLOCK = 32 * CHUNK  # rows predicted between two signs of life


def options_for_new_rows(model: Any, options: ReadOptions) -> ReadOptions:
    """Say how new input is read so that its rows are like those that the model was fitted on."""
    options = dataclasses.replace(options, labels=None)
    if len(model.layout_.shape) < 2 or options.image_size is not None:
        return options
    height, width = model.spec_.shape[1:]
    grey = model.spec_.shape[0] == 1
    return dataclasses.replace(options, image_size=(height, width), image_mode="grey" if grey else "rgb")


def predict_run(
    run: Run, source: str, read: ReadOptions | None = None, *, watch: Callable[[str, float], None] | None = None
) -> tuple[Loaded, Any, Any, Naming | None]:
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
    loaded, labels, proba, naming
    """
    model = run.load_model()
    options = options_for_new_rows(model, read or run.request.read)
    encoder = run.load_encoder()
    reading = (lambda share: watch("reading", share)) if watch else None
    loaded = read_input(source, options, encoder=encoder, watch=reading)
    n = len(loaded.X)
    if n == 0:
        raise InvalidDataError(f"{source} has no rows.")
    parts = []
    for start in range(0, n, _BLOCK):
        parts.append(model.predict_proba(loaded.X[start : start + _BLOCK]))
        if watch:
            watch("assigning", min(1.0, (start + _BLOCK) / n))
    proba = np.concatenate(parts)
    return loaded, proba.argmax(axis=1), proba, model.naming_


def _state(request: Request, status: str) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, "status": status, "request": dataclasses.asdict(request)}


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step; arrays and NumPy numbers become lists and numbers."""
    with atomic_file(path) as part:
        part.write_text(_as_json(content))


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=1, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")
