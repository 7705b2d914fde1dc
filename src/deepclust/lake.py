"""Predictions for more rows than fit into memory: in parts, each of which is whole or not there.

A part is a Parquet file of a fixed range of rows. A run that was killed goes on with the parts that are missing, so no
row is missing or doubled, whatever ended it; which process makes a part, here or on another machine, does not matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pyarrow import parquet

from deepclust.assignments import write_assignments
from deepclust.atomic import atomic_file
from deepclust.data.ranges import AbstractRanges, open_ranges
from deepclust.data.readers import Loaded, ReadOptions
from deepclust.data.sets import DATASETS
from deepclust.engine.inference import CHUNK
from deepclust.errors import InvalidDataError, MissingExtraError, RunFolderError
from deepclust.runs import Run, options_for_new_rows

Engine = Literal["here", "ray"]

_JOB = "_job.json"  # what begins with an underscore is no part of a data set to those who read the folder
_PART_BYTES = 1 << 26  # of rows in a part: what is held in memory at a time, twice
_MOST_ROWS = 1 << 20
_LOCAL = {"worker_niceness": 0}  # a cluster of our own on this machine is what the user waits for


@dataclass(frozen=True)
class Job:
    """What is to be predicted, as plain JSON; a folder holds the parts of one job.

    Attributes
    ----------
    run, source
        A finished run folder, and what the user named.
    read
        How the source is read.
    rows, part_rows
        Rows in all, and in every part but the last.
    state
        A digest of the model and of the source's files: parts of another state do not belong together.
    """

    run: str
    source: str
    read: ReadOptions
    rows: int
    part_rows: int
    state: str

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-self.rows // self.part_rows)

    def range_of(self, number: int) -> tuple[int, int]:
        """Return the first row of a part and the one after its last."""
        return number * self.part_rows, min(self.rows, (number + 1) * self.part_rows)


def predict_parts(
    run: Run,
    source: str,
    out: Path,
    *,
    read: ReadOptions | None = None,
    engine: Engine = "here",
    workers: int = 1,
    overwrite: bool = False,
    part_rows: int | None = None,
    watch: Callable[[str, float], None] | None = None,
) -> npt.NDArray[np.int64]:
    """Assign the rows of a source, into a folder of Parquet files; go on where an earlier call was cut off.

    Parameters
    ----------
    run
        A finished run.
    source
        What the user named.
    out
        The folder. Its files, in the order of their names, have the rows in the order of the source.
    read
        How to read; None reads as the run did.
    engine
        ``"here"``: this process. ``"ray"``: as many workers of a Ray cluster as ``workers`` says; all of them must see
        run, source and folder under the same paths.
    overwrite
        Forget parts that another job left in the folder.
    part_rows
        Rows a part; by default about 64 MB of them. Rounded up to whole batches.
    watch
        Called with what is done, and its share.

    Returns
    -------
    (k,) int64
        Rows of every cluster.

    Raises
    ------
    RunFolderError
        Where the folder holds another job's parts.
    """
    model, out = run.load_model(), out.resolve()
    read = options_for_new_rows(model, read or run.request.read)
    place = source if source in DATASETS else str(Path(source).resolve())
    ranges = open_ranges(place, read, run.load_encoder(), watch=(lambda s: watch("reading", s)) if watch else None)
    if ranges.n == 0:
        raise InvalidDataError(f"{source} has no rows.")
    fitting = max(CHUNK, min(_MOST_ROWS, _PART_BYTES // ranges.row_bytes))
    size = -(-(part_rows or fitting) // CHUNK) * CHUNK
    job = Job(str(run.folder.resolve()), place, read, ranges.n, size, _state(run, place))
    _begin(job, out, overwrite=overwrite)
    missing = [number for number in range(job.parts) if not _is_whole(job, out, number)]
    done = job.parts - len(missing)
    if engine == "ray":
        made: Iterable[int] = _by_ray(job, out, missing, workers)
    else:
        made = Predictor(job, out, model, ranges).make(missing)
    for number, _ in enumerate(made, 1):
        if watch:
            watch("assigning", (done + number) / job.parts)
    for left in out.glob(".*.part"):
        left.unlink()
    return _sizes(job, out, len(model.result_.sizes))


class Predictor:
    """Makes parts.

    Parameters
    ----------
    job, out
        What to predict, and into which folder.
    model, ranges
        What the job names, where it is open already.
    """

    def __init__(self, job: Job, out: Path, model: Any = None, ranges: AbstractRanges | None = None) -> None:
        self.job, self.out = job, out
        run = Run(Path(job.run))
        self.model = run.load_model() if model is None else model
        self.ranges = open_ranges(job.source, job.read, run.load_encoder()) if ranges is None else ranges

    def make(self, numbers: list[int]) -> Iterator[int]:
        """Make these parts one after the other; the next is read while one is predicted."""
        with ThreadPoolExecutor(1) as reader:
            ahead = None if not numbers else reader.submit(self._read, numbers[0])
            for place, number in enumerate(numbers):
                assert ahead is not None
                loaded = ahead.result()
                ahead = reader.submit(self._read, numbers[place + 1]) if place + 1 < len(numbers) else None
                self._write(number, loaded)
                yield number

    def _read(self, number: int) -> Loaded:
        return self.ranges.read(*self.job.range_of(number))

    def _write(self, number: int, loaded: Loaded) -> None:
        proba = self.model.predict_proba(loaded.X)
        first, _ = self.job.range_of(number)
        path = _path(self.out, number)
        write_assignments(path, loaded, proba.argmax(axis=1), proba, self.model.naming_, first=first)


def _by_ray(job: Job, out: Path, numbers: list[int], workers: int) -> Iterator[int]:
    """Let workers of a Ray cluster make parts; Ray starts lost workers anew, and making a part twice does no harm."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "--engine ray needs the package ray, which is not installed: pip install 'deepclust[ray]'."
        ) from error

    class Worker:
        def __init__(self) -> None:
            self.predictor = Predictor(job, out)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"part": np.array(list(self.predictor.make([int(number) for number in batch["part"]])))}

    if not numbers:
        return
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)
        else:
            ray.init(log_to_driver=False, include_dashboard=False, _system_config=_LOCAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items([{"part": number} for number in numbers], override_num_blocks=len(numbers))
    for row in rows.map_batches(Worker, batch_size=1, concurrency=workers).iter_rows():
        yield int(row["part"])


def _begin(job: Job, out: Path, *, overwrite: bool) -> None:
    """Make the folder, or see that it holds parts of this very job."""
    described = json.loads(json.dumps(dataclasses.asdict(job)))
    file = out / _JOB
    if out.exists() and any(path.suffix != ".part" for path in out.iterdir()):  # a killed one may have left no more
        found = None
        if file.is_file():
            try:
                found = json.loads(file.read_bytes())
            except ValueError:
                found = None
        if found == described:
            return
        if not overwrite or not file.is_file():
            what = "predictions of another model, source or size" if file.is_file() else "other files"
            hint = "choose another --out, or pass --overwrite" if file.is_file() else "choose another --out"
            raise RunFolderError(f"{out} holds {what}: {hint}.")
        file.unlink()
        for part in out.glob("part-*.parquet"):
            part.unlink()
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(described, indent=1))


def _path(out: Path, number: int) -> Path:
    return out / f"part-{number:07d}.parquet"


def _is_whole(job: Job, out: Path, number: int) -> bool:
    start, stop = job.range_of(number)
    try:
        return int(parquet.read_metadata(_path(out, number)).num_rows) == stop - start
    except (OSError, ValueError):
        return False


def _sizes(job: Job, out: Path, k: int) -> npt.NDArray[np.int64]:
    sizes = np.zeros(k, dtype=np.int64)
    for number in range(job.parts):
        clusters = parquet.read_table(_path(out, number), columns=["cluster"]).column(0).to_numpy()
        sizes += np.bincount(clusters, minlength=k)
    return sizes


def _state(run: Run, place: str) -> str:
    """Return a digest of the model's files and of names, sizes and times of the source's."""
    digest = hashlib.sha256()
    for file in sorted((run.folder / "model").iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    path = Path(place)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    for file in files:
        facts = file.stat()
        digest.update(
            f"{file.relative_to(path) if path.is_dir() else file.name} {facts.st_size} {facts.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()
