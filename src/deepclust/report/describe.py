"""What sets clusters apart: their features, a small rule, their neighbours, and the rows between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier

_ROWS = 20_000  # that rules are found on
_DEPTH = 3
_FEATURES = 6
_TORN = 0.25  # probability of the second choice from which on a row counts as between two clusters

Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.floating[Any]]


class Feature(NamedTuple):
    """How a feature of some rows differs from that of all; ``effect`` in standard deviations of all."""

    name: str
    mean: float
    overall: float
    effect: float


class Rule(NamedTuple):
    """Thresholds, the share of the rows that fit them which are in the cluster, and of the cluster's rows that fit."""

    text: str
    precision: float
    recall: float


def features(X: Matrix, members: Labels, names: Sequence[str], most: int = _FEATURES) -> list[Feature]:
    """Return the features by which the members differ most from all rows."""
    mean, spread = X.mean(axis=0), X.std(axis=0)
    inside = X[members].mean(axis=0)
    effect = np.divide(inside - mean, spread, out=np.zeros_like(inside), where=spread > 0)
    order = np.argsort(-np.abs(effect), kind="stable")[:most]
    return [Feature(names[i], float(inside[i]), float(mean[i]), float(effect[i])) for i in order.tolist()]


def rule(X: Matrix, is_member: npt.NDArray[np.bool_], names: Sequence[str]) -> Rule | None:
    """Describe a cluster by the path to the leaf of a small tree that holds most of it; None where there is none."""
    if not 0 < is_member.sum() < len(X):
        return None
    chosen = np.random.default_rng(0).permutation(len(X))[:_ROWS]
    if len(np.unique(is_member[chosen])) < 2:
        return None
    tree = DecisionTreeClassifier(max_depth=_DEPTH, class_weight="balanced", random_state=0)
    tree.fit(X[chosen], is_member[chosen])
    leaves = tree.apply(X.astype(np.float32))
    inside = np.bincount(leaves, weights=is_member, minlength=tree.tree_.node_count)
    leaf = int(inside.argmax())
    fits = leaves == leaf
    bounds: dict[int, list[float]] = {}
    for node, goes_left in _path(tree.tree_, leaf):
        low_high = bounds.setdefault(int(tree.tree_.feature[node]), [-np.inf, np.inf])
        threshold = float(tree.tree_.threshold[node])
        if goes_left:
            low_high[1] = min(low_high[1], threshold)
        else:
            low_high[0] = max(low_high[0], threshold)
    if not bounds:
        return None
    text = ", ".join(_interval(names[i], low, high) for i, (low, high) in bounds.items())
    both = float((fits & is_member).sum())
    return Rule(text, both / float(fits.sum()), both / float(is_member.sum()))


def _path(tree: Any, leaf: int) -> list[tuple[int, bool]]:
    """Return the nodes from the root to a leaf, each with whether the path goes left there."""
    parents = {}
    for node in range(tree.node_count):
        for child, goes_left in ((tree.children_left[node], True), (tree.children_right[node], False)):
            if child >= 0:
                parents[int(child)] = (node, goes_left)
    path = []
    while leaf in parents:
        path.append(parents[leaf])
        leaf = parents[leaf][0]
    return path[::-1]


def _interval(name: str, low: float, high: float) -> str:
    if np.isinf(low):
        return f"{name} ≤ {high:.4g}"
    return f"{name} > {low:.4g}" if np.isinf(high) else f"{low:.4g} < {name} ≤ {high:.4g}"


def nearest_clusters(codes: Matrix, labels: Labels, k: int, most: int = 3) -> list[list[int]]:
    """Return for every cluster those with the nearest mean code, nearest first; empty clusters have and are none."""
    used = np.unique(labels)
    means = np.stack([codes[labels == c].mean(axis=0) for c in used])
    distances = ((means[:, None] - means[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    near: list[list[int]] = [[] for _ in range(k)]
    for place, c in enumerate(used.tolist()):
        near[c] = used[distances[place].argsort(kind="stable")[: min(most, len(used) - 1)]].tolist()
    return near


class Torn(NamedTuple):
    """Two clusters, and the share of their rows for which the other one is a likely second choice."""

    a: int
    b: int
    share: float


def least_apart(proba: Matrix, labels: Labels) -> Torn | None:
    """Return the two clusters between which most rows are torn; None where there are no such rows."""
    n, k = proba.shape
    others = proba.copy()
    others[np.arange(n), labels] = -1.0
    second = others.argmax(axis=1)
    torn = others[np.arange(n), second] > _TORN
    if not torn.any():
        return None
    counts = np.zeros((k, k))
    np.add.at(counts, (labels[torn], second[torn]), 1)
    sizes = np.bincount(labels, minlength=k)
    shares = np.triu(counts + counts.T, 1) / np.maximum(sizes[:, None] + sizes[None], 1)
    a, b = np.unravel_index(shares.argmax(), shares.shape)
    return Torn(int(a), int(b), float(shares[a, b]))
