"""``deepclust``: fit, predict, sample, report, compare, relabel, explore, export, methods, datasets.

Exit codes: 0 done; 2 a parameter or option is wrong; 3 the data cannot be read or clustered; 4 a run or model folder is
wrong; 5 training diverged; 6 a file could not be written; 130 stopped, with a checkpoint to resume from.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deepclust import errors
from deepclust.cli import benchmark, reviewing
from deepclust.cli.speaking import AsJson, Quiet, fail, one_of, refuse_existing, say

app = typer.Typer(
    name="deepclust",
    help="Find the groups in unlabelled data, see them, and know how far to trust them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.InterruptedRun, 130),
    (errors.InvalidParameterError, 2),
    (errors.DivergenceError, 5),
    (errors.InvalidDataError, 3),
    (errors.DownloadError, 3),
    (errors.RunFolderError, 4),
    (errors.ModelFormatError, 4),
    (errors.CheckpointError, 4),
    (errors.NotSupportedError, 2),
    (errors.DeepclustError, 1),
    (OSError, 6),
    (MemoryError, 6),
)

app.add_typer(benchmark.app, name="bench")

DataKey = Annotated[str | None, typer.Option(help="Which array of an .npz or .mat file.", show_default=False)]


@app.command()
def fit(
    source: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="A data set's name, a file, or a folder of images.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("--clusters", "-k", help="Number of clusters.")] = 10,
    method: Annotated[str, typer.Option(help="See 'deepclust methods'.")] = "vade",
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run folder.  [default: runs/<data>-<method>-s<seed>]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped; takes no INPUT.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing run folder.")] = False,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of the clustering phase; by default from the number of rows.")
    ] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Time limit of the training.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Any parameter, such as pretrain__epochs=20."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="FILE|COLUMN", help="Labels, for evaluation only; 'folder' takes images' subfolders."),
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Column that names rows.")] = None,
    pretrain_on: Annotated[
        str | None,
        typer.Option(
            metavar="INPUT", help="More rows of the same kind; the network learns from them, none is clustered."
        ),
    ] = None,
    data_key: DataKey = None,
    missing: Annotated[str, typer.Option(help="Missing numbers of a table: error, mean or median.")] = "error",
    categorical: Annotated[str, typer.Option(help="Text columns of a table: error, onehot or drop.")] = "error",
    image_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Resize images to this; by default the common size, up to 64.")
    ] = None,
    image_mode: Annotated[str, typer.Option(help="auto, grey or rgb.")] = "auto",
    skip_bad: Annotated[bool, typer.Option(help="Leave out images that cannot be read.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cluster data: train, and write a run folder with assignments, model and page."""
    from deepclust.cli.fitting import ask, carry_out

    if resume is not None:
        if source is not None:
            fail("--resume takes no INPUT: the run folder knows its own.", 2)
        carry_out(resume, quiet=quiet, as_json=as_json)
        return
    if source is None:
        fail("INPUT is missing: name a data set, a file or a folder of images, or --resume a run.", 2)
    options = {
        "data_key": data_key,
        "id_column": id_column,
        "labels": labels,
        "missing": one_of("--missing", missing, ("error", "mean", "median")),
        "categorical": one_of("--categorical", categorical, ("error", "onehot", "drop")),
        "image_size": _size(image_size),
        "image_mode": one_of("--image-mode", image_mode, ("auto", "grey", "rgb")),
        "skip_bad": skip_bad,
    }
    asked = {
        "source": source,
        "pretrain_on": pretrain_on,
        "method": method,
        "n_clusters": k,
        "seed": seed,
        "device": one_of("--device", device, ("auto", "cpu", "cuda", "mps")),
        "epochs": epochs,
        "max_seconds": max_seconds,
        "params": _params(param or []),
    }
    folder = ask(asked, options, out, overwrite=overwrite, quiet=quiet or as_json)
    carry_out(folder, quiet=quiet, as_json=as_json)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    source: Annotated[str, typer.Argument(metavar="NEW_INPUT", help="New rows, like those of the run.")],
    out: Annotated[
        Path | None,
        typer.Option(help="A .parquet or .csv file, or a folder of parts.  [default: RUN/predictions/<input>.parquet]"),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Who makes the parts of a folder: here (this process) or ray (its workers).")
    ] = "here",
    workers: Annotated[int, typer.Option(min=1, help="Of Ray.")] = 1,
    part_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows a part; by default about 64 MB of them.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace existing predictions.")] = False,
    data_key: DataKey = None,
    skip_bad: Annotated[bool, typer.Option(help="Leave out images that cannot be read.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Assign new rows to the clusters of a run.

    Into a folder, they are written in parts, so that a source may have any number of rows, and the same command goes on
    where it was cut off.
    """
    import dataclasses

    from deepclust.assignments import write_assignments
    from deepclust.cli.progress import ProgressBars
    from deepclust.runs import Run, predict_run

    the_run = Run(run)
    read = the_run.request.read
    read = dataclasses.replace(read, data_key=data_key or read.data_key, skip_bad=skip_bad or read.skip_bad)
    target = out or run / "predictions" / f"{Path(source).name.split('.')[0]}.parquet"
    one_of("--engine", engine, ("here", "ray"))
    if out is not None and target.suffix == "":
        from deepclust.lake import predict_parts

        with ProgressBars(Console(stderr=True, quiet=quiet or as_json)) as bars:
            counts = predict_parts(
                the_run,
                source,
                target,
                read=read,
                engine=engine,  # type: ignore[arg-type]
                workers=workers,
                overwrite=overwrite,
                part_rows=part_rows,
                watch=bars.show,
            )
        facts = {"rows": int(counts.sum()), "sizes": {str(c): int(n) for c, n in enumerate(counts)}, "out": str(target)}
        say(facts, f"{facts['rows']} rows: {target}", quiet, as_json)
        return
    if target.suffix not in (".parquet", ".csv"):
        fail(f"--out must end in .parquet or .csv, or be a folder (without a suffix). Got {target}.", 2)
    if engine != "here" or part_rows is not None:
        fail("--engine and --part-rows are for a folder: give --out one, such as --out predictions/.", 2)
    refuse_existing(target, overwrite)
    with ProgressBars(Console(stderr=True, quiet=quiet or as_json)) as bars:
        loaded, labels, proba, naming = predict_run(the_run, source, read, watch=bars.show)
    write_assignments(target, loaded, labels, proba, naming)
    sizes = {str(c): int((labels == c).sum()) for c in range(proba.shape[1])}
    say({"rows": len(labels), "sizes": sizes, "out": str(target)}, f"{len(labels)} rows: {target}", quiet, as_json)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    cluster: Annotated[int | None, typer.Option(help="Draw from this cluster; by default from all.")] = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    out: Annotated[Path, typer.Option(help="A .png file (images), or .npy or .csv.")] = Path("samples.png"),
    threshold: Annotated[
        float | None, typer.Option(help="Keep codes that belong to their cluster with more than this probability.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Factor on the spread of the codes.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw new members of a cluster from a generative model."""
    from deepclust.cli.sampling import write_samples
    from deepclust.runs import Run

    refuse_existing(out, overwrite)
    model = Run(run).load_model()
    found = model.sample(n, cluster, threshold=threshold, temperature=temperature, random_state=seed)
    if not len(found.X):
        fail("no draw passed the filter. Lower --threshold or --temperature.", 2)
    write_samples(out, found.X, found.clusters, model)
    facts: dict[str, Any] = {"n": len(found.X), "cluster": cluster, "out": str(out)}
    words = f"{len(found.X)} samples: {out}"
    if found.acceptance is not None:
        facts["acceptance"] = {c: float(rate) for c, rate in enumerate(found.acceptance) if rate == rate}
        words += (
            f" ({', '.join(f'cluster {c}: {100 * rate:.1f} %' for c, rate in facts['acceptance'].items())} accepted)"
        )
    say(facts, words, quiet, as_json)


for command in (reviewing.report, reviewing.compare, reviewing.relabel, reviewing.explore, reviewing.export):
    app.command()(command)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods."""
    from deepclust.methods import METHODS

    rows = {
        name: entry.summary + (" (benchmark only)" if entry.kind == "baseline" else "")
        for name, entry in METHODS.items()
    }
    _list(rows, as_json)


@app.command()
def datasets(as_json: AsJson = False) -> None:
    """List the public data sets that can be named as INPUT."""
    from deepclust.data.sets import DATASETS

    _list(DATASETS, as_json)


def _list(rows: dict[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    width = max(map(len, rows))
    for name, text in rows.items():
        typer.echo(f"{name:<{width}}  {text}")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdigit() and 1 <= int(part) <= 4096 for part in parts):
        fail(f"--image-size must be one side or HxW in pixels, such as 32 or 28x36. Got {text!r} instead.", 2)
    return int(parts[0]), int(parts[-1])


def _params(items: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE pairs; a value is JSON where it can be, else text."""
    found: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name:
            fail(f"--param must be NAME=VALUE. Got {item!r} instead.", 2)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


def main() -> None:
    """Run the command line; every foreseen error ends in one sentence and an exit code."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and sys.argv[1:2] != ["fit"]:
        fail("of all commands, fit alone runs in several processes. Start this one without torchrun.", 2)
    try:
        app()
    except KeyboardInterrupt:
        fail("stopped.", 130)
    except tuple(kind for kind, _ in _EXIT_CODES) as error:
        code = next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
        message = str(error) or type(error).__name__
        fail(" ".join(message.split()), code)
    sys.exit(0)
