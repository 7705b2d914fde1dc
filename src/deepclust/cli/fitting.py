"""What ``deepclust fit`` does once its options are read."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.console import Console

from deepclust import together
from deepclust.cli.progress import ProgressBars
from deepclust.data.readers import ReadOptions
from deepclust.data.sets import DATASETS
from deepclust.engine import Callback, Session, Trainer
from deepclust.errors import InterruptedRun
from deepclust.params import check_parameters
from deepclust.runs import Request, Run, create_run, perform

_HOME = Path("runs")


def ask(asked: dict[str, Any], options: dict[str, Any], out: Path | None, *, overwrite: bool, quiet: bool) -> Path:
    """Check the request and make its run folder; nothing is left where the request is wrong."""
    source = asked["source"]
    for what in ("source", "pretrain_on"):
        if asked[what] is not None and asked[what] not in DATASETS:
            asked = {**asked, what: str(Path(asked[what]).resolve())}
    if options["labels"] and Path(options["labels"]).is_file():
        options = {**options, "labels": str(Path(options["labels"]).resolve())}
    request = Request(**asked, read=ReadOptions(**options))
    check_parameters(request.estimator(Trainer()))  # a wrong method or parameter is told before anything is written
    name = source if source in DATASETS else re.sub(r"[^\w.-]+", "-", Path(source).resolve().stem)
    folder = out or _HOME / f"{name}-{request.method}-s{request.seed}"
    _meet(request)
    together.from_first(lambda: create_run(folder, request, overwrite=overwrite))
    return folder


def carry_out(folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Carry out a run, new or interrupted, and tell what came out."""
    run = Run(folder)
    _meet(run.request)
    if run.is_finished:
        metrics = json.loads((folder / "metrics.json").read_text())
    else:
        try:
            metrics = _watched(run, quiet=quiet or as_json or not together.is_first())
        except InterruptedRun as stop:
            raise InterruptedRun(f"{stop} Go on with: deepclust fit --resume {folder}") from stop
        except BaseException:
            if together.is_first():
                _forget_if_empty(folder)
            raise
    is_first = together.is_first()
    together.end()
    if not is_first:
        return
    page = folder / "report.html"
    if as_json:
        typer.echo(json.dumps({"run": str(folder), "report": str(page), "metrics": metrics}))
    elif not quiet:
        _summary(metrics, folder)
        typer.echo(f"report: {page}")


def _meet(request: Request) -> None:
    """Meet the other processes of the run, before the first of them writes or says anything."""
    together.begin(Trainer(device=request.device).resolve_device())  # type: ignore[arg-type]


def _forget_if_empty(folder: Path) -> None:
    """Remove a run folder that holds nothing but its request: a run that failed before it began leaves nothing."""
    content = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if content == {"run.json"}:
        (folder / "run.json").unlink()
        folder.rmdir()
        if folder.parent == _HOME and not any(_HOME.iterdir()):
            _HOME.rmdir()


def _watched(run: Run, *, quiet: bool) -> dict[str, Any]:
    console = Console(stderr=True, quiet=quiet)
    stopper = _Stopper()
    with ProgressBars(console) as bars, _signals(stopper):
        return perform(run, callbacks=(bars, stopper), watch=bars.show)


class _Stopper(Callback):
    """Passes a signal on to the session, which then stops between two steps."""

    asked = False

    def on_phase_start(self, session: Session, phase: Any, progress: Any) -> None:
        """Pass on a signal that came before."""
        self.on_step(session, phase, progress)

    def on_step(self, session: Session, phase: Any, progress: Any) -> None:
        """Pass a signal on."""
        if self.asked:
            session.ask_to_stop()


@contextmanager
def _signals(stopper: _Stopper) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one has its usual effect."""

    def handle(number: int, frame: FrameType | None) -> None:
        stopper.asked = True
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _summary(metrics: dict[str, Any], folder: Path) -> None:
    for note in json.loads((folder / "provenance.json").read_text())["notes"]:
        typer.echo(f"note: {note}", err=True)
    internal = metrics["internal"]
    words = f"{internal['n_clusters_used']} clusters used, mean probability {internal['mean_confidence']:.2f}"
    if "external" in metrics:
        found = metrics["external"]
        start = f" (start {metrics['start']['accuracy']:.3f})" if "start" in metrics else ""
        words += f"; against the labels: accuracy {found['accuracy']:.3f}{start}, NMI {found['nmi']:.3f}"
    typer.echo(words)
    typer.echo(f"run: {folder}")
