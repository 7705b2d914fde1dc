"""What a page tells, as plain values and small arrays; how it looks is decided elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from deepclust.data.rows import as_rows
from deepclust.errors import NotSupportedError

_EXEMPLARS = 12
_MAP_POINTS = 4_000
_FEATURES = 6

Array = npt.NDArray[Any]


def summarize(estimator: Any, loaded: Any, metrics: dict[str, Any]) -> dict[str, Any]:
    """Collect what the page shows.

    Parameters
    ----------
    estimator
        Fitted on ``loaded.X``.
    loaded
        Rows with what identifies them.
    metrics
        As in ``metrics.json``.

    Returns
    -------
    dict
        Plain values; images are arrays of bytes, (n, h, w) or (n, h, w, 3).
    """
    result = estimator.result_
    return {
        "name": loaded.name,
        "method": type(estimator).__name__,
        "n": len(result.labels),
        "k": result.proba.shape[1],
        "verdict": _in_words(result, metrics),
        "metrics": metrics,
        "clusters": _clusters(estimator, loaded),
        "map": _map(result),
        "curves": _curves(result.history),
        "provenance": result.provenance,
        "events": result.events,
        "notes": loaded.notes,
        "is_image": len(estimator.layout_.shape) >= 2,
    }


def _in_words(result: Any, metrics: dict[str, Any]) -> list[str]:
    """Say what was found, how sure the model is, and what to doubt."""
    internal, sizes = metrics["internal"], np.sort(result.sizes)[::-1]
    used, k = internal["n_clusters_used"], result.proba.shape[1]
    words = [
        f"{used} of {k} clusters are used. The largest holds {_percent(sizes[0] / sizes.sum())} of the rows, "
        f"the smallest used one {_percent(sizes[used - 1] / sizes.sum())}."
    ]
    words.append(
        f"The model gives a row's cluster a probability of {internal['mean_confidence']:.2f} on average; "
        f"for {_percent(internal['unsure_share'])} of the rows no cluster reaches one half. "
        "Such probabilities are the model's own and tend to be too sure."
    )
    if result.start_labels is not None:
        moved = _moved(result.start_labels, result.labels)
        words.append(f"Training moved {_percent(moved)} of the rows away from the partition that it started from.")
    if used < k:
        words.append("Empty clusters suggest that fewer would do.")
    if any(event["kind"] == "time limit" for event in result.events):
        words.append("Training ended at the time limit, so the result may not have settled.")
    return words


def _moved(start: Array, end: Array) -> float:
    from deepclust.metrics import accuracy

    return 1.0 - accuracy(start, end)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _clusters(estimator: Any, loaded: Any) -> list[dict[str, Any]]:
    result = estimator.result_
    rows = as_rows(loaded.X, channels=estimator.layout_.channels)
    profile = None if rows.spec.is_image else _profiles(rows, result.labels, loaded.feature_names)
    cards = []
    for cluster, size in enumerate(result.sizes.tolist()):
        members = np.flatnonzero(result.labels == cluster)
        typical = members[np.argsort(-result.proba[members, cluster], kind="stable")]
        typical = _spread(typical, result.embedding)
        unsure = members[np.argsort(result.proba[members, cluster], kind="stable")][:_EXEMPLARS]
        card: dict[str, Any] = {
            "cluster": cluster,
            "size": size,
            "share": size / len(result.labels),
            "confidence": float(result.proba[members, cluster].mean()) if size else None,
            "rows": [_name(loaded, int(row)) for row in typical],
        }
        if rows.spec.is_image and size:
            card["typical"] = rows_as_bytes(rows, typical)
            card["unsure"] = rows_as_bytes(rows, unsure)
        if profile is not None and size:
            card["features"] = profile(members)
        if rows.spec.is_image:
            card["drawn"] = _drawn(estimator, cluster)
        cards.append(card)
    return cards


def _spread(ranked: Array, embedding: Array) -> Array:
    """Of the most certain half, take the rows nearest to the middle: certainty alone favours the far side."""
    half = ranked[: max(_EXEMPLARS, len(ranked) // 2)]
    if len(half) == 0:
        return half
    middle = embedding[half].mean(axis=0)
    distance = ((embedding[half] - middle) ** 2).sum(axis=1)
    chosen: Array = half[np.argsort(distance, kind="stable")[:_EXEMPLARS]]
    return chosen


def _name(loaded: Any, row: int) -> str:
    return str(loaded.ids[row]) if loaded.ids is not None else str(row)


def rows_as_bytes(rows: Any, index: Array) -> Array:
    """Make chosen rows bytes of (n, h, w) or (n, h, w, 3)."""
    import torch

    x = rows.gather(torch.from_numpy(np.asarray(index, dtype=np.int64))).numpy()
    return as_bytes(x, rows.spec.low, rows.spec.high)


def _drawn(estimator: Any, cluster: int) -> Array | None:
    try:
        drawn, _ = estimator.sample(_EXEMPLARS, cluster, random_state=0)
    except NotSupportedError:
        return None
    x = estimator.layout_.to_network(drawn)
    return as_bytes(x, estimator.spec_.low, estimator.spec_.high)


def as_bytes(x: Array, low: float, high: float) -> Array:
    """Make (n, c, h, w) in the data's range bytes of (n, h, w) or (n, h, w, 3)."""
    scaled = ((x.astype(np.float64) - low) / ((high - low) or 1.0) * 255).clip(0, 255).astype(np.uint8)
    return scaled.transpose(0, 2, 3, 1) if scaled.shape[1] == 3 else scaled[:, 0]


def _profiles(rows: Any, labels: Array, names: list[str] | None) -> Any:
    """Return a function that lists the features by which some rows differ most from all."""
    mean, std = rows.moments.mean, rows.moments.std

    def profile(members: Array) -> list[dict[str, Any]]:
        import torch

        inside = rows.gather(torch.from_numpy(members)).numpy().astype(np.float64).mean(axis=0)
        effect = np.where(std > 0, (inside - mean) / np.where(std > 0, std, 1), 0.0)
        order = np.argsort(-np.abs(effect))[:_FEATURES]
        return [
            {
                "feature": names[i] if names else f"feature {i}",
                "mean": float(inside[i]),
                "overall": float(mean[i]),
                "effect": float(effect[i]),
            }
            for i in order.tolist()
        ]

    return profile


def _map(result: Any) -> dict[str, Any]:
    """Project codes on their two first principal components, at most 4,000 rows of them."""
    z = result.embedding.astype(np.float64)
    chosen = np.sort(np.random.default_rng(0).permutation(len(z))[:_MAP_POINTS])
    axes = min(2, z.shape[1], len(z))
    pca = PCA(axes, random_state=0).fit(z)
    points = np.zeros((len(chosen), 2))
    points[:, :axes] = pca.transform(z[chosen])
    return {
        "points": points,
        "labels": result.labels[chosen],
        "confidence": result.proba[chosen].max(axis=1),
        "explained": float(pca.explained_variance_ratio_.sum()),
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
