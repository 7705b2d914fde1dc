"""The data sets of the benchmark: public ones, and two shapes that no straight line separates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.sets import DATASETS, load_dataset, n_clusters_of


@dataclass(frozen=True)
class Problem:
    """Rows with labels for evaluation, and the number of groups.

    ``train_rows`` is how many rows come first as the training part, ``others`` loads such a part that is not among the
    rows.
    """

    load: Callable[[], tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]
    n_clusters: int
    train_rows: int | None = None
    others: Callable[[], npt.NDArray[Any]] | None = None


def _public(name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    data = load_dataset(name)
    return data.X, data.y


def _training_rows_of(name: str) -> npt.NDArray[Any]:
    return load_dataset(name).X[: _TRAIN_ROWS[name]]


def two_moons() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Two half circles that reach into each other: 7,000 rows, noise 0.075."""
    from sklearn.datasets import make_moons

    X, y = make_moons(7_000, noise=0.075, random_state=0)
    return X, y.astype(np.int64)


def nested_c() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Two letters C, one inside the other and turned against it, as SpectralNet has them: 1,500 rows, noise 0.1."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 750)
    angle = rng.uniform(-0.5 * np.pi, 0.5 * np.pi, 1_500)
    first = np.column_stack([np.cos(angle), np.sin(angle)])
    second = np.column_stack([0.5 - np.cos(angle), -1 - np.sin(angle)])
    X = np.where(y[:, None] == 0, first, second) + rng.normal(0, 0.1, (1_500, 2))
    return X, y


_SMALL_FIRST = (
    "digits",
    "nested-c",
    "cmu-pie",
    "two-moons",
    "usps",
    "mnist-dev",
    "mnist-test",
    "fashion-mnist",
    "mnist",
)
_SHAPES = {"two-moons": Problem(two_moons, 2), "nested-c": Problem(nested_c, 2)}
_TRAIN_ROWS = {"mnist": 60_000, "fashion-mnist": 60_000, "usps": 7_291}
_OTHERS = {"mnist-test": partial(_training_rows_of, "mnist")}
PROBLEMS: dict[str, Problem] = {
    name: Problem(partial(_public, name), n_clusters_of(name), _TRAIN_ROWS.get(name), _OTHERS.get(name))
    if name in DATASETS
    else _SHAPES[name]
    for name in _SMALL_FIRST
}
TUNING = ("digits", "mnist-dev")  # the only sets on which settings may be chosen by accuracy
