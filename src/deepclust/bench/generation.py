"""How good what a model draws is: by the model itself, and by an independent classifier. Labels touch nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from deepclust.methods.baselines import FlatRows
from deepclust.metrics import contingency
from deepclust.model import AbstractGenerativeModel

_SAMPLES = 2_000
_THRESHOLD = 0.999
_LEAST_ROWS, _MOST_ROWS = 5_000, 30_000  # that a judge is trained on
_HELD_BACK = 5  # one row in so many is held back to say how good the judge is


def generation_metrics(
    estimator: Any, X: npt.NDArray[Any], y: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Return the quality of samples; empty for a model that draws nothing.

    Parameters
    ----------
    estimator
        Fitted.
    X, y
        Rows with their labels, on which a judge is trained where they are many.
    labels
        Clusters of these rows.

    Returns
    -------
    dict
        ``self_consistency``: share of samples that the model assigns to the cluster that they were drawn from, and
        ``self_consistency_filtered`` of those drawn at threshold 0.999; ``filter_acceptance``; with a judge
        ``judged_agreement``: share of filtered samples in which it sees the label that most rows of the cluster have,
        and ``judge_accuracy`` on rows held back.
    """
    if not isinstance(estimator.model_, AbstractGenerativeModel):
        return {}
    plain = estimator.sample(_SAMPLES, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The filter")  # what is missing shows in the acceptance rate
        filtered = estimator.sample(_SAMPLES, threshold=_THRESHOLD, random_state=0)
    found = {
        "self_consistency": float(np.mean(estimator.predict(plain.X) == plain.clusters)),
        "filter_acceptance": float(np.nanmean(filtered.acceptance)),
    }
    if len(filtered.X) == 0:
        return found
    found["self_consistency_filtered"] = float(np.mean(estimator.predict(filtered.X) == filtered.clusters))
    return found | (_judged(filtered, X, y, labels) if len(X) >= _LEAST_ROWS else {})


def _judged(
    drawn: Any, X: npt.NDArray[Any], y: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> dict[str, float]:
    names, clusters = np.unique(y), np.unique(labels)
    majority = dict(zip(clusters.tolist(), names[contingency(y, labels).argmax(axis=1)].tolist(), strict=True))
    chosen = np.random.default_rng(0).permutation(len(X))[:_MOST_ROWS]
    held, kept = chosen[::_HELD_BACK], np.delete(chosen, slice(None, None, _HELD_BACK))
    flat = FlatRows().fit(X)
    judge = MLPClassifier((256,), max_iter=15, batch_size=100, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fifteen passes are enough
        judge.fit(flat.transform(X[kept]), y[kept])
    expected = np.array([majority.get(cluster, -1) for cluster in drawn.clusters.tolist()])
    return {
        "judged_agreement": float(np.mean(judge.predict(flat.transform(drawn.X)) == expected)),
        "judge_accuracy": float(judge.score(flat.transform(X[held]), y[held])),
    }
