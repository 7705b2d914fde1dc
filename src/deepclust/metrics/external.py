"""Agreement of a partition with given labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from deepclust.errors import InvalidDataError

Labels = npt.ArrayLike


def contingency(y: Labels, clusters: Labels) -> npt.NDArray[np.int64]:
    """Count rows by cluster and label.

    Parameters
    ----------
    y : (n,)
        Labels of any kind.
    clusters : (n,)
        Cluster of every row, of any kind.

    Returns
    -------
    table : (k, l)
        Clusters and labels in sorted order.
    """
    y, clusters = np.asarray(y), np.asarray(clusters)
    if y.ndim != 1 or y.shape != clusters.shape or len(y) == 0:
        raise InvalidDataError(
            f"Labels and clusters must be two lists of the same length >= 1. Got shapes {y.shape} and {clusters.shape}."
        )
    _, columns = np.unique(y, return_inverse=True)
    _, rows = np.unique(clusters, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def match_clusters(table: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Match clusters to labels one to one so that most rows agree (Hungarian method); extra ones stay unmatched."""
    rows, columns = linear_sum_assignment(table, maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


def accuracy(y: Labels, clusters: Labels) -> float:
    """Return the share of rows that agree under the best one-to-one matching.

    Extra clusters count as errors, and so does noise, the rows of cluster -1. This is the literature's clustering
    accuracy; it is never above `purity`.

    References
    ----------
    Xie, Girshick, Farhadi (2016), eq. 10.
    """
    table = contingency(y, clusters)
    found = np.unique(np.asarray(clusters))
    proper = table[found != -1] if found.dtype.kind in "if" else table
    return float(sum(proper[pair] for pair in match_clusters(proper)) / table.sum())


def purity(y: Labels, clusters: Labels) -> float:
    """Return the share of rows whose label is their cluster's most frequent one; it grows with more clusters."""
    table = contingency(y, clusters)
    return float(table.max(axis=1).sum() / table.sum())


def representative_accuracy(y: Labels, proba: npt.NDArray[np.floating[Any]]) -> float:
    """Return the share of rows that carry the label of their cluster's most certain row.

    Several clusters may share a label; the measure is never above `purity`, and noisy, since one row names a cluster.
    Records keep it as ``aae_accuracy``.

    Parameters
    ----------
    y : (n,)
        Labels.
    proba : (n, k)
        Probability of every cluster.

    References
    ----------
    Makhzani et al. (2015), "Adversarial autoencoders"; the criterion of Dilokthanakul et al. (2016).
    """
    y, clusters = np.asarray(y), proba.argmax(axis=1)
    named = y[proba.argmax(axis=0)]
    return float(np.mean(named[clusters] == y))


def held_out_accuracy(y_fit: Labels, fitted: Labels, y_new: Labels, predicted: Labels) -> float:
    """Return the accuracy on new rows under the matching found on the rows that were fitted.

    A matching found on the rows that are scored is optimistic; this one is not.
    """
    y_fit, fitted = np.asarray(y_fit), np.asarray(fitted)
    names, clusters = np.unique(y_fit), np.unique(fitted)
    pairs = match_clusters(contingency(y_fit, fitted))
    label_of = {clusters[row].item(): names[column].item() for row, column in pairs}
    hits = [label_of.get(c) == label for c, label in zip(list(predicted), list(y_new), strict=True)]  # type: ignore[arg-type]
    return float(np.mean(hits))


def external_metrics(y: Labels, clusters: Labels) -> dict[str, Any]:
    """Return every measure of agreement by its own name.

    ``nmi`` normalises by the arithmetic mean of the entropies, ``nmi_geometric`` by the geometric one (papers before
    2019); ``ari`` and ``ami`` are corrected for chance. Noise, cluster -1, counts as errors in the accuracy and as one
    more cluster in all other measures.
    """
    return {
        "accuracy": accuracy(y, clusters),
        "purity": purity(y, clusters),
        "nmi": float(normalized_mutual_info_score(y, clusters)),
        "nmi_geometric": float(normalized_mutual_info_score(y, clusters, average_method="geometric")),
        "ari": float(adjusted_rand_score(y, clusters)),
        "ami": float(adjusted_mutual_info_score(y, clusters)),
    }
