"""``deepclust bench``: run, status, table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepclust.errors import DeepclustError

app = typer.Typer(help="Run benchmarks, and make tables from their records.", no_args_is_help=True)

Spec = Annotated[Path, typer.Argument(help="A TOML file of what to run.")]
Records = Annotated[Path, typer.Option(help="Folder of the records.")]
_RECORDS = Path("benchmarks/quality/records")
_PUBLISHED = Path("benchmarks/quality/published.toml")
_SPECS = Path("benchmarks/quality")
_TABLE = Path("benchmarks/quality/TABLE.md")
_HEAD = """# Quality

Made by `deepclust bench table` from the records beside this file; do not edit. Means ± standard deviations over seeds
0..n-1. Accuracy matches clusters to labels one to one (Hungarian method). Labels were used for these numbers, and to
choose settings on digits and mnist-dev alone (exceptions: docs/guide/benchmark.md). †: a time limit ended the run
before its schedule did. ‡: on a GPU, which other runs may have shared. §: settings of this configuration have changed
since; it is to be run again. Seconds are of the machine, threads and precision that each record names, often beside
other runs; seeds of one line may differ in them.

"""


@app.command()
def run(
    spec: Spec,
    records: Records = _RECORDS,
    work: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and logs.  [default: in the user's cache]")
    ] = None,
    redo: Annotated[bool, typer.Option(help="Do tasks again that have a record.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Tasks at a time; they share the cores.")] = 1,
) -> None:
    """Carry out what has no record yet; a run that was killed goes on."""
    import pooch

    from deepclust.bench.run import Store, run_tasks
    from deepclust.bench.spec import read_spec

    tasks = read_spec(spec)
    home = work or Path(pooch.os_cache("deepclust")) / "bench"
    failed = run_tasks(
        tasks, Store(records), home, say=lambda line: typer.echo(line, err=True), redo=redo, workers=workers
    )
    if failed:
        raise DeepclustError(f"{len(failed)} of {len(tasks)} tasks failed: {'; '.join(failed)}")


@app.command()
def status(spec: Spec, records: Records = _RECORDS) -> None:
    """Tell which tasks of a spec have a record."""
    from deepclust.bench.run import Store
    from deepclust.bench.spec import read_spec

    store, tasks = Store(records), read_spec(spec)
    missing = [task for task in tasks if store.read(task) is None]
    for task in missing:
        typer.echo(f"missing: {task.dataset}/{task.configuration.name}/seed{task.seed}")
    typer.echo(f"{len(tasks) - len(missing)} of {len(tasks)} records")


@app.command()
def table(
    records: Records = _RECORDS,
    published: Annotated[Path, typer.Option(help="TOML file of published numbers.")] = _PUBLISHED,
    specs: Annotated[Path, typer.Option(help="Folder of the specs that say what settings are now.")] = _SPECS,
    out: Annotated[Path, typer.Option(help="Markdown file to write; the same as .html goes beside it.")] = _TABLE,
    readme: Annotated[Path, typer.Option(help="File whose marked part gets the overview.")] = Path("README.md"),
    check: Annotated[bool, typer.Option(help="Write nothing; fail if a file differs.")] = False,
) -> None:
    """Write the tables that the records give."""
    from deepclust.atomic import atomic_file
    from deepclust.bench.table import (
        as_html,
        as_markdown,
        as_overview,
        mark_by_specs,
        read_published,
        read_records,
        replace_between,
    )

    summaries, theirs = mark_by_specs(read_records(records), specs), read_published(published)
    files = {out: _HEAD + as_markdown(summaries, theirs), out.with_suffix(".html"): as_html(summaries, theirs)}
    if readme.is_file() and summaries:
        files[readme] = replace_between(readme.read_text(), "bench", as_overview(summaries))
    for path, text in files.items():
        if check:
            if not path.is_file() or path.read_text() != text:
                raise DeepclustError(f"{path} is not what the records give. Run: deepclust bench table")
            continue
        with atomic_file(path) as part:
            part.write_text(text)
        typer.echo(str(path))
