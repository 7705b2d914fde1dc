"""What can be said of a partition without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import davies_bouldin_score, silhouette_score

_SAMPLE = 5_000  # rows for measures that cost the square of the rows


def effective_clusters(labels: npt.NDArray[np.int64]) -> float:
    """Return how many clusters of equal size would be as hard to guess as these.

    Parameters
    ----------
    labels : (n,)
        Clusters.

    Returns
    -------
    float
        The exponential of the entropy of their shares, between 1 and the number of clusters used.
    """
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(np.exp(-(share * np.log(share)).sum()))


def internal_metrics(
    embedding: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.int64],
    proba: npt.NDArray[np.floating[Any]],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Return measures of the partition in the space of the codes.

    Parameters
    ----------
    embedding : (n, d)
        Codes.
    labels : (n,)
        Clusters.
    proba : (n, k)
        Their probabilities.
    seed
        Of the sample that ``silhouette`` is computed on.

    Returns
    -------
    dict
        ``n_clusters_used``, ``usage_entropy`` (of the cluster sizes, 1 is balanced), ``mean_confidence``,
        ``unsure_share`` (rows whose best probability is under one half), and, where two clusters or more are used,
        ``silhouette`` and ``davies_bouldin`` with ``space`` and ``sample`` saying on what.
    """
    n, k = proba.shape
    best = proba.max(axis=1)
    found: dict[str, Any] = {
        "n_clusters_used": len(np.unique(labels)),
        "usage_entropy": float(np.log(effective_clusters(labels)) / np.log(k)) if k > 1 else 1.0,
        "mean_confidence": float(best.mean()),
        "unsure_share": float((best < 0.5).mean()),
        "space": "embedding",
        "sample": int(min(n, _SAMPLE)),
    }
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:_SAMPLE])
    z, sampled = embedding[chosen].astype(np.float64), labels[chosen]
    if 2 <= len(np.unique(sampled)) < len(sampled):
        found["silhouette"] = float(silhouette_score(z, sampled))
        found["davies_bouldin"] = float(davies_bouldin_score(z, sampled))
    return found
