"""What a page tells, as plain values and small arrays; how it looks and in which language is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deepclust.data.rows import as_rows
from deepclust.errors import NotSupportedError
from deepclust.metrics import accuracy, cluster_stability, contingency, match_clusters
from deepclust.report.describe import Rule, features, least_apart, nearest_clusters, rule
from deepclust.report.layout import lay_out
from deepclust.report.thumbnails import as_bytes, chosen_rows, sheet_of

_EXEMPLARS = 12
_MAP_ROWS = 200_000  # points on the map
_PROFILED = 100_000  # rows that features of a table are compared on
_LARGEST_TABLE = 70  # clusters and labels in the confusion table
_WEAK = 0.6  # stability below which a cluster should not be trusted

Array = npt.NDArray[Any]
Watch = Callable[[str, float], None]


def summarize(
    estimator: Any,
    loaded: Any,
    metrics: dict[str, Any],
    *,
    others: Sequence[npt.NDArray[np.int64]] = (),
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Collect what the page shows.

    Parameters
    ----------
    estimator
        Fitted on ``loaded.X``.
    loaded
        Rows with what identifies them.
    metrics
        As in ``metrics.json``.
    others : (n,) each
        Other partitions of the same rows, such as those of other seeds: clusters are told how well these have them.
    watch
        Called with what is being done and the share of it that is.

    Returns
    -------
    dict
        Plain values; images are arrays of bytes, (n, h, w) or (n, h, w, 3).
    """
    tell = watch or (lambda _what, _share: None)
    result = estimator.named_result()
    rows = as_rows(loaded.X, channels=estimator.layout_.channels)
    names = cluster_names(estimator)
    tell("laying out a map", 0.0)
    chart = _map(result, rows, loaded, names)
    tell("describing clusters", 0.5)
    stability = cluster_stability(result.labels, others, len(names)) if others else None
    clusters = _clusters(estimator, loaded, rows, names, stability)
    return {
        "name": loaded.name,
        "method": type(estimator).__name__,
        "n": len(result.labels),
        "k": len(names),
        "used": metrics["internal"]["n_clusters_used"],
        "sentences": sentences(
            result,
            metrics,
            names,
            estimator.result_.labels,
            stability,
            len(others),
            kinds=None if loaded.y is None else len(np.unique(loaded.y)),
        ),
        "notes": loaded.notes,
        "metrics": metrics,
        "clusters": clusters,
        "map": chart,
        "confidence": result.proba.max(axis=1),
        "curves": _curves(result.history),
        "confusion": _confusion(result, loaded.y, names),
        "provenance": result.provenance,
        "events": result.events,
        "is_image": rows.spec.is_image,
    }


def cluster_names(estimator: Any) -> list[str]:
    """Return what people call the clusters; by default their numbers."""
    k = estimator.result_.proba.shape[1]
    return [str(c) for c in range(k)] if estimator.naming_ is None else list(estimator.naming_.names)


def sentences(
    result: Any,
    metrics: dict[str, Any],
    names: list[str],
    found: npt.NDArray[np.int64],
    stability: npt.NDArray[np.float64] | None = None,
    others: int = 0,
    kinds: int | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """Say what was found, how sure the model is, and what to doubt: keys of texts with their values.

    ``found`` are the clusters as training left them, before people joined any: a join moves no row. ``kinds`` is how
    many different labels were given.
    """
    internal, sizes = metrics["internal"], np.sort(result.sizes)[::-1]
    used, k = internal["n_clusters_used"], len(set(names))
    total = sizes.sum()
    said: list[tuple[str, dict[str, Any]]] = [
        (
            "used",
            {"used": used, "k": k, "largest": percent(sizes[0] / total), "smallest": percent(sizes[used - 1] / total)},
        ),
        ("sure", {"mean": f"{internal['mean_confidence']:.2f}", "unsure": percent(internal["unsure_share"])}),
    ]
    if result.start_labels is not None:
        moved = 1.0 - accuracy(result.start_labels, found)
        said.append(("moved", {"share": percent(moved)}) if moved >= 0.0005 else ("stayed", {}))
    said += _against_labels(metrics, used, kinds)
    torn = least_apart(result.proba, result.labels)
    if torn is not None and torn.share >= 0.005:
        said.append(("close", {"a": names[torn.a], "b": names[torn.b], "share": percent(torn.share)}))
    if stability is not None:
        said.append(("stability", {"others": others, "mean": f"{np.nanmean(stability):.2f}"}))
        weak = [name for name, value in zip(names, stability.tolist(), strict=True) if value < _WEAK]
        if weak:
            said.append(("weak", {"clusters": ", ".join(weak)}))
    happened = {event["kind"] for event in result.events}
    if used < k and "clusters run together" not in happened:  # which is told below: the start had filled them
        said.append(("empty", {}))
    tiny = [names[c] for c, size in enumerate(result.sizes.tolist()) if 0 < size < 0.1 * total / k]
    if tiny:
        said.append(("tiny", {"clusters": ", ".join(tiny)}))
    if "time limit" in happened:
        said.append(("out_of_time", {}))
    return [*said, *_healed(result.events, names)]


def _against_labels(metrics: dict[str, Any], used: int, kinds: int | None) -> list[tuple[str, dict[str, Any]]]:
    """Tell how clusters agree with labels, from start to end; beside accuracy, purity where their numbers differ."""
    if "external" not in metrics:
        return []
    after, purity = (f"{metrics['external'][name]:.3f}" for name in ("accuracy", "purity"))
    if "start" in metrics:
        said = [("against_start", {"before": f"{metrics['start']['accuracy']:.3f}", "after": after})]
    else:
        said = [("against", {"after": after})]
    if kinds is not None and kinds != used:
        said.append(("kinds_differ", {"kinds": str(kinds), "used": str(used), "purity": purity}))
    return said


def _healed(events: list[dict[str, Any]], names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Tell what the engine did by itself: where training went wrong, or rows are very many."""
    said: list[tuple[str, dict[str, Any]]] = []
    for event in events:
        if event["kind"] == "diverged":
            said.append(("healed_diverged", {**event, "rate": f"{event['rate']:g}"}))
        elif event["kind"] == "one cluster dominates":
            said.append(("healed_dominates" if "back_to" in event else "dominates", event))
        elif event["kind"] == "nothing is reconstructed":
            said.append(("healed_blank" if "back_to" in event else "blank", event))
        elif event["kind"] == "empty cluster placed anew":
            said.append(("healed_reseeded", {**event, "cluster": names[event["cluster"]]}))
        elif event["kind"] in ("partition of a sample", "graph of a sample"):
            key = "sampled_start" if event["kind"].startswith("partition") else "sampled_graph"
            said.append((key, {"rows": f"{event['rows']:,}"}))
        elif event["kind"] == "drifted":
            said.append(("drifted", {"moved": percent(event["moved"])}))
        elif event["kind"] == "clusters run together":
            said.append(("run_together", event))
        elif event["kind"] == "images stay as they are":
            said.append(("unchanged", {"kept": percent(event["kept"])}))
        elif event["kind"] == "unhealthy":
            said.append(("unhealthy", event))
    return said


def percent(share: float) -> str:
    """Write a share as percent."""
    return f"{100 * share:.1f} %"


def _clusters(
    estimator: Any, loaded: Any, rows: Any, names: list[str], stability: npt.NDArray[np.float64] | None
) -> list[dict[str, Any]]:
    result = estimator.named_result()
    home = range(len(names)) if estimator.naming_ is None else estimator.naming_.into
    near = nearest_clusters(result.embedding, result.labels, len(names))
    table = None if rows.spec.is_image else _table(rows, loaded)
    cards = []
    for cluster, size in enumerate(result.sizes.tolist()):
        if home[cluster] != cluster:  # it has been joined with another
            continue
        members = np.flatnonzero(result.labels == cluster)
        card: dict[str, Any] = {
            "cluster": cluster,
            "name": names[cluster],
            "size": size,
            "share": size / len(result.labels),
            "confidence": float(result.proba[members, cluster].mean()) if size else None,
            "near": [names[c] for c in near[cluster]],
            "stability": None if stability is None or not size else float(stability[cluster]),
        }
        if size:
            typical, unsure = _exemplars(result, members, cluster)
            card["typical_rows"] = [row_name(loaded, row) for row in typical.tolist()]
            card["unsure_rows"] = [row_name(loaded, row) for row in unsure.tolist()]
            if rows.spec.is_image:
                card["typical"], card["unsure"] = rows_as_bytes(rows, typical), rows_as_bytes(rows, unsure)
        if rows.spec.is_image:
            card["drawn"] = _drawn(estimator, cluster)
        if table is not None and size:
            card |= table(result.labels == cluster)
        cards.append(card)
    return cards


def _exemplars(result: Any, members: Array, cluster: int) -> tuple[Array, Array]:
    """Return typical rows and unsure ones.

    Typical are those nearest to the middle among the more certain half: certainty alone favours the far side.
    """
    ranked = members[np.argsort(-result.proba[members, cluster], kind="stable")]
    half = ranked[: max(_EXEMPLARS, len(ranked) // 2)]
    distance = ((result.embedding[half] - result.embedding[half].mean(axis=0)) ** 2).sum(axis=1)
    return half[np.argsort(distance, kind="stable")[:_EXEMPLARS]], ranked[::-1][:_EXEMPLARS]


def _table(rows: Any, loaded: Any) -> Callable[[Array], dict[str, Any]]:
    """Return what describes a cluster of a table's rows, given which rows are in it."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:_PROFILED])
    X = rows.gather(torch.from_numpy(chosen)).numpy().astype(np.float64)
    names = loaded.feature_names or [f"feature {i}" for i in range(X.shape[1])]

    def describe(is_member: Array) -> dict[str, Any]:
        inside = is_member[chosen]
        found: Rule | None = rule(X, inside, names)
        return {"features": features(X, np.flatnonzero(inside), names) if inside.any() else [], "rule": found}

    return describe


def row_name(loaded: Any, row: int) -> str:
    """Return what the user calls a row."""
    return str(loaded.ids[row]) if loaded.ids is not None else str(row)


def rows_as_bytes(rows: Any, index: Array) -> Array:
    """Make chosen rows bytes of (n, h, w) or (n, h, w, 3)."""
    x = rows.gather(torch.from_numpy(np.ascontiguousarray(index, dtype=np.int64))).numpy()
    return as_bytes(x, rows.spec.low, rows.spec.high)


def _drawn(estimator: Any, cluster: int) -> Array | None:
    try:
        drawn, _ = estimator.sample(_EXEMPLARS, cluster, random_state=0)
    except NotSupportedError:
        return None
    return as_bytes(estimator.layout_.to_network(drawn), estimator.spec_.low, estimator.spec_.high)


def _map(result: Any, rows: Any, loaded: Any, names: list[str]) -> dict[str, Any]:
    """Place rows on a map, all or as many as a page bears, and picture some of them."""
    layout = lay_out(result.embedding)
    shown = chosen_rows(len(rows), most=_MAP_ROWS)
    pictured = shown[chosen_rows(len(shown))] if rows.spec.is_image else None
    return {
        "rows": shown,
        "points": layout.points[shown],
        "kind": layout.kind,
        "fitted": layout.fitted,
        "explained": layout.explained,
        "labels": result.labels[shown],
        "probability": result.proba[shown].max(axis=1),
        "names": names,
        "ids": [row_name(loaded, row) for row in shown.tolist()] if loaded.ids is not None else None,
        "truth": None if loaded.y is None else [str(loaded.y[row]) for row in shown.tolist()],
        "sheet": None if pictured is None else sheet_of(rows_as_bytes(rows, pictured), pictured),
    }


def _confusion(result: Any, y: Array | None, names: list[str]) -> dict[str, Any] | None:
    """Count labels by clusters, every matched pair on the diagonal."""
    if y is None:
        return None
    labels = np.unique(y)
    if max(len(labels), len(names)) > _LARGEST_TABLE:
        return None
    table = contingency(y, result.labels)  # clusters in use by labels
    used = np.unique(result.labels)
    pairs = match_clusters(table)
    order = [a for a, _ in sorted(pairs, key=lambda pair: pair[1])]
    order += [a for a in range(len(used)) if a not in order]
    return {
        "table": table[order].T,
        "labels": [str(label) for label in labels.tolist()],
        "clusters": [names[int(used[a])] for a in order],
    }


def _curves(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group the history by phase: the loss and its terms over epochs."""
    phases: dict[str, list[dict[str, Any]]] = {}
    for line in history:
        phases.setdefault(line["phase"], []).append(line)
    skipped = {"phase", "epoch", "lr", "seconds"}
    return [
        {
            "phase": phase,
            "seconds": sum(line["seconds"] for line in lines),
            "terms": {term: [line[term] for line in lines] for term in lines[0] if term not in skipped},
        }
        for phase, lines in phases.items()
    ]
