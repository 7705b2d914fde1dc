"""Runs side by side: how far they agree, and which rows they do not agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from sklearn.metrics import adjusted_rand_score

from deepclust.metrics import accuracy, cluster_stability, contingency, moves
from deepclust.report.charts import confusion
from deepclust.report.figures import contact_sheet, data_uri
from deepclust.report.render import asset, pages
from deepclust.report.summarize import row_name, rows_as_bytes

_SHOWN = 24  # rows that move most
_LARGEST_TABLE = 70  # clusters

Partition = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Compared:
    """A run as a comparison sees it.

    Attributes
    ----------
    name
        What the page calls it.
    method
        Class of its estimator.
    seed
        That it was made with.
    seconds
        That it took.
    labels : (n,)
        Clusters.
    confidence : (n,)
        Probability of a row's own cluster.
    cluster_names : list of k str
        What people call the clusters.
    metrics
        As in ``metrics.json``.
    """

    name: str
    method: str
    seed: int
    seconds: float
    labels: Partition
    confidence: npt.NDArray[np.floating[Any]]
    cluster_names: list[str]
    metrics: dict[str, Any]


def summarize_comparison(
    runs: Sequence[Compared], rows: Any = None, loaded: Any = None, *, unread: str | None = None
) -> dict[str, Any]:
    """Collect what the page shows; all runs are on the same rows, and the first is what others are matched with.

    Parameters
    ----------
    runs
        Two or more.
    rows, loaded
        The rows and what identifies them; None where the input is gone: rows then have numbers, and no pictures.
    unread
        Why the input could not be read; None where it was.

    Returns
    -------
    dict
        Plain values and small arrays.
    """
    first = runs[0]
    moved = [moves(first.labels, run.labels) for run in runs[1:]]
    count = np.sum([move.moved for move in moved], axis=0)
    agreement = [[accuracy(a.labels, b.labels) for b in runs] for a in runs]
    off = [agreement[i][j] for i in range(len(runs)) for j in range(len(runs)) if i != j]
    return {
        "runs": [_facts(run) for run in runs],
        "n": len(first.labels),
        "unread": unread,
        "agreement": agreement,
        "ari": [[float(adjusted_rand_score(a.labels, b.labels)) for b in runs] for a in runs],
        "lowest": min(off),
        "moving": float(np.mean(count > 0)),
        "clusters": _clusters(runs, moved),
        "tables": [table for run in runs[1:] if (table := _table(first, run)) is not None],
        "rows": _rows(first, moved, count, rows, loaded),
        "pictures": None if rows is None or not rows.spec.is_image else _pictures(rows, _most_moved(first, count)),
    }


def _facts(run: Compared) -> dict[str, Any]:
    internal, external = run.metrics["internal"], run.metrics.get("external")
    return {
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "seconds": run.seconds,
        "used": internal["n_clusters_used"],
        "confidence": internal["mean_confidence"],
        "unsure": internal["unsure_share"],
        "accuracy": None if external is None else external["accuracy"],
        "nmi": None if external is None else external["nmi"],
    }


def _clusters(runs: Sequence[Compared], moved: Sequence[Any]) -> list[dict[str, Any]]:
    """Tell of the first run's clusters how stable they are and where their rows go."""
    first = runs[0]
    stability = cluster_stability(first.labels, [run.labels for run in runs[1:]], len(first.cluster_names))
    told = []
    for cluster in np.unique(first.labels).tolist():
        inside = first.labels == cluster
        stay = [float(np.mean(~move.moved[inside])) for move in moved]
        told.append(
            {
                "name": first.cluster_names[cluster],
                "size": int(inside.sum()),
                "stability": float(stability[cluster]),
                "stay": stay,
            }
        )
    return sorted(told, key=lambda card: card["stability"])


def _table(first: Compared, run: Compared) -> dict[str, Any] | None:
    """Count rows by the clusters of two runs, matched ones on the diagonal."""
    ours, theirs = np.unique(first.labels), np.unique(run.labels)
    if max(len(ours), len(theirs)) > _LARGEST_TABLE:
        return None
    matched = moves(first.labels, run.labels).clusters
    place = [int(matched[np.flatnonzero(run.labels == c)[0]]) for c in theirs.tolist()]
    order = np.argsort([p if p >= 0 else len(first.cluster_names) for p in place], kind="stable")
    table = contingency(run.labels, first.labels)[:, order]  # ours by theirs
    return {
        "name": run.name,
        "table": table,
        "rows": [first.cluster_names[c] for c in ours.tolist()],
        "columns": [run.cluster_names[int(theirs[i])] for i in order.tolist()],
    }


def _most_moved(first: Compared, count: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows that most runs have elsewhere, the least certain first."""
    order = np.lexsort([first.confidence, -count])[:_SHOWN]
    return order[count[order] > 0]


def _rows(first: Compared, moved: Sequence[Any], count: Partition, rows: Any, loaded: Any) -> list[dict[str, Any]]:
    names = [*first.cluster_names, "–"]  # the last: a cluster that is matched with none
    return [
        {
            "name": str(row) if loaded is None else row_name(loaded, row),
            "first": names[first.labels[row]],
            "others": [names[move.clusters[row]] for move in moved],
            "count": int(count[row]),
        }
        for row in _most_moved(first, count).tolist()
    ]


def _pictures(rows: Any, index: npt.NDArray[np.int64]) -> npt.NDArray[Any] | None:
    return rows_as_bytes(rows, index) if len(index) else None


def render_comparison(summary: dict[str, Any], *, language: str = "en") -> str:
    """Return the page's HTML; it loads nothing from anywhere.

    Parameters
    ----------
    summary
        As `summarize_comparison` returns it.
    language
        That the page shows first; a button switches.
    """
    pictures = summary["pictures"]
    return (
        pages(language)
        .get_template("compare.html.j2")
        .render(
            **{key: value for key, value in summary.items() if key not in ("tables", "pictures")},
            lang=language,
            tables=[
                (table["name"], Markup(confusion(table["table"], table["rows"], table["columns"])))
                for table in summary["tables"]
            ],
            pictures=[] if pictures is None else [data_uri(contact_sheet(picture[None])) for picture in pictures],
            style=Markup(asset("style.css")),
        )
    )
