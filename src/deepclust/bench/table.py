"""Tables from records and published numbers; nothing here is typed by hand."""

from __future__ import annotations

import json
import math
import statistics
import tomllib
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from deepclust.bench.problems import PROBLEMS
from deepclust.bench.spec import Task, config_hash, known_methods, read_spec
from deepclust.bench.task import make_estimator, settings_of
from deepclust.errors import InvalidDataError

CUT_SHORT = "†"  # follows what was reached when a time limit ended a run before its schedule did
ON_ACCELERATOR = "‡"  # follows seconds on a GPU, which compare with no others
FORMER = "§"  # follows what was reached with settings that have changed since
_HEADINGS = (
    "configuration",
    "accuracy at the start",
    "accuracy",
    "standard error",
    "NMI",
    "ARI",
    "purity",
    "seeds",
    "seconds a seed",
    "MB",
)


@dataclass(frozen=True)
class Summary:
    """All seeds of one configuration on one data set."""

    dataset: str
    name: str
    records: list[dict[str, Any]]
    is_former: bool = False
    in_overview: bool = True

    def mean(self, metric: str, part: str = "metrics") -> float | None:
        """Return the mean over seeds of a metric of the end or the start."""
        values = [record[part][metric] for record in self.records if record[part]]
        return statistics.fmean(values) if values else None

    def std(self, metric: str) -> float:
        """Return the standard deviation over seeds (of the sample); 0 for one seed."""
        values = [record["metrics"][metric] for record in self.records]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def is_cut_short(self) -> bool:
        """Whether a time limit ended some seed before its schedule did."""
        return any(event["kind"] == "time limit" for record in self.records for event in record.get("events", []))

    @property
    def is_accelerated(self) -> bool:
        """Whether some seed ran on a GPU."""
        return any(record["device"].get("device", "cpu") != "cpu" for record in self.records)

    def standard_error(self, metric: str) -> float:
        """Return the standard error of the mean."""
        return self.std(metric) / math.sqrt(len(self.records))


def read_records(folder: Path) -> list[Summary]:
    """Read all records, in the order of the data sets and of the names.

    Raises
    ------
    InvalidDataError
        Where the seeds of a set are not 0..n-1 of one configuration.
    """
    found = []
    for dataset in PROBLEMS:
        for home in sorted(path for path in (folder / dataset).glob("[!.]*") if path.is_dir()):
            records = [json.loads(path.read_text()) for path in home.glob("seed*.json")]
            records.sort(key=lambda record: record["seed"])
            seeds = [record["seed"] for record in records]
            if seeds != list(range(len(seeds))) or len({record["config_hash"] for record in records}) > 1:
                raise InvalidDataError(f"{home} must hold seeds 0..n-1 of one configuration; it holds {seeds}.")
            if records:
                found.append(Summary(dataset, home.name, records))
    return found


def mark_by_specs(summaries: list[Summary], specs: Path) -> list[Summary]:
    """Mark what no longer has the settings that the specs of a folder give it, and what the overview leaves out.

    Of baselines, parameters that a release of another package has added or taken away do not count.
    """
    tasks: dict[tuple[str, str], Task] = {}
    for path in sorted(specs.glob("*.toml")):
        if "run" in tomllib.loads(path.read_text(encoding="utf-8")):
            tasks.update({(task.dataset, task.configuration.name): task for task in read_spec(path)})
    return [_marked(summary, tasks.get((summary.dataset, summary.name))) for summary in summaries]


def _marked(summary: Summary, task: Task | None) -> Summary:
    if task is None:
        return summary
    is_former = _is_former(summary.records[0], task)
    return replace(summary, is_former=is_former, in_overview=task.configuration.in_overview)


def _is_former(record: dict[str, Any], task: Task) -> bool:
    now = settings_of(make_estimator(task, PROBLEMS[task.dataset].n_clusters))
    if known_methods()[task.configuration.method].kind == "deep":
        return bool(record["config_hash"] != config_hash(now))
    then = record["params"]
    return any(then[key] != now[key] for key in then.keys() & now.keys())


def read_published(path: Path) -> list[dict[str, Any]]:
    """Read the published numbers: data set, method, accuracy, nmi, source, version of the data, how sure."""
    if not path.is_file():
        return []
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text()).get("published", [])
    return entries


def as_markdown(summaries: list[Summary], published: list[dict[str, Any]]) -> str:
    """Return a table for each data set: ours, start to end, beside what was published."""
    parts = []
    for dataset, grids in _grids(summaries, published):
        parts.append(f"### {dataset}\n\n" + "\n\n".join(_markdown(grid) for grid in grids))
    return "\n\n".join(parts) + "\n"


def as_html(summaries: list[Summary], published: list[dict[str, Any]]) -> str:
    """Return the same tables as one page that loads nothing."""
    parts = []
    for dataset, grids in _grids(summaries, published):
        parts.append(f"<h2>{escape(dataset)}</h2>" + "".join(map(_html, grids)))
    return _PAGE.format(body="\n".join(parts))


def as_overview(summaries: list[Summary]) -> str:
    """Return one table of accuracies: a line a configuration, a column a data set, seeds in brackets."""
    summaries = [summary for summary in summaries if summary.in_overview]
    datasets = [name for name in PROBLEMS if any(s.dataset == name for s in summaries)]
    cells = {(s.name, s.dataset): f"{_pm(s, 'accuracy')} ({len(s.records)})" for s in summaries}
    names = sorted({summary.name for summary in summaries})
    grid = [["accuracy", *datasets]]
    grid += [[f"`{name}`", *(cells.get((name, dataset), "") for dataset in datasets)] for name in names]
    return _markdown(grid)


Grid = list[list[str]]


def _grids(summaries: list[Summary], published: list[dict[str, Any]]) -> list[tuple[str, list[Grid]]]:
    found = []
    for dataset in PROBLEMS:
        ours = [summary for summary in summaries if summary.dataset == dataset]
        theirs = [entry for entry in published if entry["dataset"] == dataset]
        if ours:
            found.append((dataset, [_ours(ours), *([_theirs(theirs)] if theirs else [])]))
    return found


def _ours(summaries: list[Summary]) -> Grid:
    grid = [list(_HEADINGS)]
    for summary in sorted(summaries, key=lambda summary: -(summary.mean("accuracy") or 0)):
        start = summary.mean("accuracy", "start")
        cells = [
            f"`{summary.name}`",
            "" if start is None else f"{start:.3f}",
            _pm(summary, "accuracy"),
        ]
        cells += [f"{summary.standard_error('accuracy'):.3f}"]
        cells += [f"{summary.mean(metric):.3f}" for metric in ("nmi", "ari", "purity")]
        seconds = statistics.fmean(record["seconds"] for record in summary.records)
        memory = max(record["peak_mb"] for record in summary.records)
        time = f"{seconds:.0f}" + ON_ACCELERATOR * summary.is_accelerated
        grid.append([*cells, str(len(summary.records)), time, str(memory)])
    return grid


def _pm(summary: Summary, metric: str) -> str:
    spread = f" ± {summary.std(metric):.3f}" if len(summary.records) > 1 else ""
    return f"{summary.mean(metric):.3f}{spread}" + CUT_SHORT * summary.is_cut_short + FORMER * summary.is_former


def _theirs(entries: list[dict[str, Any]]) -> Grid:
    grid = [["published", "accuracy", "NMI", "protocol", "source", "how sure"]]
    for entry in entries:
        numbers = [f"{entry[key]:.3f}" if key in entry else "" for key in ("accuracy", "nmi")]
        grid.append([entry["method"], *numbers, entry["protocol"], entry["source"], entry["sure"]])
    return grid


def _markdown(grid: Grid) -> str:
    head, *rows = ["| " + " | ".join(row) + " |" for row in grid]
    return "\n".join([head, "|---" * len(grid[0]) + "|", *rows])


def _html(grid: Grid) -> str:
    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell.strip('`'))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + row(grid[0], "th") + "".join(row(cells, "td") for cells in grid[1:]) + "</table>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>deepclust: quality</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 24px 16px; }}
table {{ border-collapse: collapse; margin: 8px 0 20px; display: block; overflow-x: auto; }}
th, td {{ text-align: left; padding: 3px 14px 3px 0; border-bottom: 1px solid #8886; }}
</style></head><body>
<h1>Quality</h1>
<p>Made by <code>deepclust bench table</code> from the records. Means ± standard deviations over seeds. Labels were used
for these numbers, and to choose settings on digits and mnist-dev alone (exceptions: docs/guide/benchmark.md). †: a time
limit ended the run before its schedule did. ‡: on a GPU, which other runs may have shared. §: settings of this
configuration have changed since; it is to be run again. Seconds are of the machine, threads and precision that each
record names, often beside other runs; seeds of one line may differ in them.</p>
{body}
</body></html>
"""


def replace_between(text: str, mark: str, content: str) -> str:
    """Put content between ``<!-- mark -->`` and ``<!-- /mark -->``.

    Raises
    ------
    ValueError
        Where the marks are missing.
    """
    first, last = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if first not in text or last not in text:
        raise ValueError(f"The text lacks {first} or {last}.")
    head, tail = text.split(first)[0], text.split(last)[1]
    return f"{head}{first}\n\n{content.strip()}\n\n{last}{tail}"
