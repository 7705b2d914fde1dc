"""Measures by their own names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepclust.errors import InvalidDataError
from deepclust.metrics import accuracy, contingency, external_metrics, internal_metrics, purity, representative_accuracy
from deepclust.metrics.external import held_out_accuracy


def from_table(table):
    pairs = [(y, c) for c, row in enumerate(table) for y, count in enumerate(row) for _ in range(count)]
    y, clusters = zip(*pairs, strict=True)
    return np.array(y), np.array(clusters)


def test_golden_example():
    y, clusters = from_table([[40, 5, 0], [30, 10, 2], [1, 3, 9]])
    assert purity(y, clusters) == pytest.approx(0.79)
    assert accuracy(y, clusters) == pytest.approx(0.59)
    assert contingency(y, clusters).tolist() == [[40, 5, 0], [30, 10, 2], [1, 3, 9]]


def test_one_cluster_on_mnist_has_its_well_known_accuracy():
    counts = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    y = np.repeat(np.arange(10), counts)
    assert accuracy(y, np.zeros(70_000, dtype=int)) == pytest.approx(0.11252857, abs=1e-8)


labels = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 5), min_size=n, max_size=n), st.lists(st.integers(0, 7), min_size=n, max_size=n)
    )
)


@given(labels)
def test_accuracy_is_never_above_purity_and_names_do_not_matter(pair):
    y, clusters = map(np.array, pair)
    assert accuracy(y, clusters) <= purity(y, clusters) + 1e-12
    assert accuracy(y, 7 - clusters) == pytest.approx(accuracy(y, clusters))
    assert accuracy([f"label {i}" for i in y], clusters) == pytest.approx(accuracy(y, clusters))
    assert accuracy(y, y) == purity(y, y) == 1


def test_extra_clusters_are_errors_for_accuracy_and_not_for_purity():
    y, clusters = np.zeros(10, dtype=int), np.arange(10)
    assert accuracy(y, clusters) == 0.1
    assert purity(y, clusters) == 1


def test_held_out_accuracy_uses_the_matching_of_the_fitted_rows():
    y, clusters = np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3])
    assert held_out_accuracy(y, clusters, np.array([0, 1, 1]), np.array([5, 3, 5])) == pytest.approx(2 / 3)
    assert held_out_accuracy(y, clusters, np.array([0, 1]), np.array([3, 5])) == 0
    assert held_out_accuracy(y, clusters, np.array([0]), np.array([9])) == 0


def test_external_metrics_carry_every_name():
    y, clusters = from_table([[40, 5, 0], [30, 10, 2], [1, 3, 9]])
    assert external_metrics(y, clusters).keys() == {"accuracy", "purity", "nmi", "nmi_geometric", "ari", "ami"}


def test_labels_of_other_lengths_are_refused():
    with pytest.raises(InvalidDataError, match="same length"):
        accuracy([1, 2], [1])


def test_internal_metrics_tell_use_and_confidence(blobs):
    X, y = blobs
    proba = np.eye(4)[y]
    found = internal_metrics(X, y, proba)
    assert found["n_clusters_used"] == 3
    assert found["mean_confidence"] == 1
    assert found["unsure_share"] == 0
    assert found["usage_entropy"] == pytest.approx(np.log(3) / np.log(4))
    assert found["silhouette"] > 0.5
    one = internal_metrics(X, np.zeros(150, dtype=int), np.eye(4)[np.zeros(150, dtype=int)])
    assert one["n_clusters_used"] == 1
    assert "silhouette" not in one


def test_noise_counts_as_errors_in_the_accuracy():
    assert accuracy([0, 0, 1, 1], [-1, -1, 0, 0]) == 0.5
    assert accuracy([0, 0], [-1, -1]) == 0.0
    assert accuracy([0, 0, 1], ["a", "a", "b"]) == 1.0


def test_representative_accuracy_lets_one_row_name_its_cluster():
    y = [0, 0, 1, 1, 1]
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.95, 0.05], [0.2, 0.8], [0.4, 0.6]])
    assert representative_accuracy(y, proba) == 0.6, "cluster 0 is named 1 by its most certain row"
    assert representative_accuracy(y, proba) <= purity(y, proba.argmax(1))
