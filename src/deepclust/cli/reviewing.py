"""``deepclust report``, ``compare``, ``relabel``, ``explore``, ``export``: what is done with finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deepclust.cli.speaking import AsJson, Quiet, fail, one_of, refuse_existing, say

Lang = Annotated[str, typer.Option(help="en or zh: what the page shows first.")]


def report(
    run: Annotated[Path, typer.Argument(help="A finished run folder; its input must be where it was.")],
    lang: Lang = "en",
    beside: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="RUN", help="Another run on the same rows, to tell how stable clusters are."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page.  [default: RUN/report.html]", show_default=False)] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the page of a run anew."""
    from deepclust.cli.progress import ProgressBars
    from deepclust.review import write_run_report
    from deepclust.runs import Run

    others = [Run(folder) for folder in beside or []]
    with ProgressBars(Console(stderr=True, quiet=quiet or as_json)) as bars:
        page = write_run_report(Run(run), language=_language(lang), others=others, out=out, watch=bars.show)
    say({"report": str(page)}, f"report: {page}", quiet, as_json)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Finished runs on the same rows.")],
    lang: Lang = "en",
    out: Annotated[Path, typer.Option(help="The page.")] = Path("compare.html"),
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Set runs side by side: how far they agree, and which rows move."""
    from deepclust.cli.progress import ProgressBars
    from deepclust.review import compare_runs
    from deepclust.runs import Run

    refuse_existing(out, overwrite)
    with ProgressBars(Console(stderr=True, quiet=quiet or as_json)) as bars:
        found = compare_runs([Run(folder) for folder in runs], out, language=_language(lang), watch=bars.show)
    names = [run["name"] for run in found["runs"]]
    facts = {key: found[key] for key in ("agreement", "ari", "moving")} | {"runs": names, "out": str(out)}
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    lines = [f"{names[i]} and {names[j]} agree on {100 * found['agreement'][i][j]:.1f} % of the rows" for i, j in pairs]
    if found["unread"] is not None:
        lines.append(f"rows have numbers and no pictures: {found['unread']}")
    say(facts, "\n".join([*lines, f"comparison: {out}"]), quiet, as_json)


def relabel(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    names: Annotated[Path, typer.Argument(metavar="NAMES.csv", help="A table with the columns cluster and name.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Name the clusters of a run, and join those of one name; predict uses that from then on."""
    from deepclust.cli.progress import ProgressBars
    from deepclust.naming import read_names
    from deepclust.review import relabel_run
    from deepclust.runs import Run

    with ProgressBars(Console(stderr=True, quiet=quiet or as_json)) as bars:
        is_whole = relabel_run(Run(run), read_names(names), watch=bars.show)
    words = f"named: {run}" + ("" if is_whole else " (its input cannot be read as it was, so the page stays)")
    say({"run": str(run), "report_written": is_whole}, words, quiet, as_json)


def explore(
    run: Annotated[Path, typer.Argument(help="A finished run folder; its input must be where it was.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the explorer's page.")] = 5055,
    table_only: Annotated[bool, typer.Option(help="Write the table, and start nothing.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Open Embedding Atlas on a run: rows on a map with pictures, clusters and probabilities."""
    from deepclust.cli.exploring import open_explorer
    from deepclust.cli.progress import ProgressBars
    from deepclust.review import write_explorer_table
    from deepclust.runs import Run

    with ProgressBars(Console(stderr=True, quiet=quiet or as_json)) as bars:
        table = write_explorer_table(Run(run), watch=bars.show)
    say({"table": str(table)}, f"table: {table}", quiet, as_json)
    if not table_only:
        open_explorer(table, port=port)


def export(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    out: Annotated[
        Path,
        typer.Argument(metavar="FILE", help=".onnx, .pt2 for PyTorch's exported program, or .zip for deepclust.load."),
    ],
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's model as one file: a graph from rows to embedding, probabilities and label, or the model whole."""
    from deepclust.export import export_onnx, export_program
    from deepclust.runs import Run

    writers = {".onnx": export_onnx, ".pt2": export_program}
    if out.suffix not in (*writers, ".zip"):
        fail(f"FILE must end in .onnx, .pt2 or .zip. Got {out}.", 2)
    refuse_existing(out, overwrite)
    if out.suffix == ".zip":
        Run(run).load_model().save(out, overwrite=overwrite)
        say({"out": str(out)}, f"exported: {out}", quiet, as_json)
        return
    difference = writers[out.suffix](Run(run).load_model(), out)
    words = f"exported: {out} (probabilities differ from PyTorch's by {difference:.1e} at most)"
    say({"out": str(out), "difference": difference}, words, quiet, as_json)


def _language(lang: str) -> Any:
    return one_of("--lang", lang, ("en", "zh"))
