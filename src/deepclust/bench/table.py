"""Tables from records and published numbers; nothing here is typed by hand."""

from __future__ import annotations

import json
import math
import statistics
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepclust.bench.problems import PROBLEMS

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

    def mean(self, metric: str, part: str = "metrics") -> float | None:
        """Return the mean over seeds of a metric of the end or the start."""
        values = [record[part][metric] for record in self.records if record[part]]
        return statistics.fmean(values) if values else None

    def std(self, metric: str) -> float:
        """Return the standard deviation over seeds (of the sample); 0 for one seed."""
        values = [record["metrics"][metric] for record in self.records]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def standard_error(self, metric: str) -> float:
        """Return the standard error of the mean."""
        return self.std(metric) / math.sqrt(len(self.records))


def read_records(folder: Path) -> list[Summary]:
    """Read all records, in the order of the data sets and of the names.

    Raises
    ------
    ValueError
        Where the seeds of a set are not 0..n-1 of one configuration.
    """
    found = []
    for dataset in PROBLEMS:
        for home in sorted(path for path in (folder / dataset).glob("*") if path.is_dir()):
            records = [json.loads(path.read_text()) for path in home.glob("seed*.json")]
            records.sort(key=lambda record: record["seed"])
            seeds = [record["seed"] for record in records]
            if seeds != list(range(len(seeds))) or len({record["config_hash"] for record in records}) > 1:
                raise ValueError(f"{home} must hold seeds 0..n-1 of one configuration; it holds {seeds}.")
            if records:
                found.append(Summary(dataset, home.name, records))
    return found


def read_published(path: Path) -> list[dict[str, Any]]:
    """Read the published numbers: data set, method, accuracy, nmi, source, version of the data, how sure."""
    if not path.is_file():
        return []
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text()).get("published", [])
    return entries


def as_markdown(summaries: list[Summary], published: list[dict[str, Any]]) -> str:
    """Return a table for each data set: ours, start to end, beside what was published."""
    parts = []
    for dataset in PROBLEMS:
        ours = [summary for summary in summaries if summary.dataset == dataset]
        theirs = [entry for entry in published if entry["dataset"] == dataset]
        if ours:
            parts.append(f"### {dataset}\n\n{_ours(ours)}" + (f"\n\n{_theirs(theirs)}" if theirs else ""))
    return "\n\n".join(parts) + "\n"


def _ours(summaries: list[Summary]) -> str:
    lines = [
        "| " + " | ".join(_HEADINGS) + " |",
        "|---" * len(_HEADINGS) + "|",
    ]
    ranked = sorted(summaries, key=lambda summary: -(summary.mean("accuracy") or 0))
    for summary in ranked:
        start = summary.mean("accuracy", "start")
        cells = [
            f"`{summary.name}`",
            "" if start is None else f"{start:.3f}",
            f"{summary.mean('accuracy'):.3f} ± {summary.std('accuracy'):.3f}",
            f"{summary.standard_error('accuracy'):.3f}",
            f"{summary.mean('nmi'):.3f}",
            f"{summary.mean('ari'):.3f}",
            f"{summary.mean('purity'):.3f}",
            str(len(summary.records)),
            f"{statistics.fmean(record['seconds'] for record in summary.records):.0f}",
            f"{max(record['peak_mb'] for record in summary.records)}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _theirs(entries: list[dict[str, Any]]) -> str:
    lines = ["| published | accuracy | NMI | what it is | source | how sure |", "|---|---|---|---|---|---|"]
    for entry in entries:
        accuracy = "" if "accuracy" not in entry else f"{entry['accuracy']:.3f}"
        nmi = "" if "nmi" not in entry else f"{entry['nmi']:.3f}"
        cells = [entry["method"], accuracy, nmi, entry["protocol"], entry["source"], entry["sure"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
