"""The graph baseline as an estimator of its own."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_moons
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepclust import GraphAgglomeration, accuracy
from deepclust.errors import InvalidDataError, InvalidParameterError


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([GraphAgglomeration(3), GraphAgglomeration(3, linkage="path")])
def test_passes_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("linkage", ["degree", "path"])
def test_finds_shapes_and_predicts_its_own_rows(linkage):
    X, y = make_moons(600, noise=0.05, random_state=0)
    model = GraphAgglomeration(2, linkage=linkage, normalize=False).fit(X)
    assert accuracy(y, model.labels_) > 0.99
    assert (model.predict(X) == model.labels_).all()
    fresh, y_fresh = make_moons(200, noise=0.05, random_state=1)
    assert accuracy(y_fresh, model.predict(fresh)) > 0.98
    assert len(set(model.tree_.first)) - len(model.tree_.children) == 2


def test_rows_are_prepared_a_block_at_a_time(monkeypatch):
    X, _ = make_blobs(300, n_features=5, centers=3, random_state=0)
    whole = GraphAgglomeration(3).fit(X)
    monkeypatch.setattr("deepclust.methods.graph_agglomeration._BLOCK", 7)
    blocks = GraphAgglomeration(3).fit(X)
    np.testing.assert_array_equal(blocks.points_, whole.points_)
    np.testing.assert_array_equal(blocks.labels_, whole.labels_)


def test_principal_components_keep_the_groups():
    X, y = make_blobs(300, n_features=30, centers=4, random_state=0)
    model = GraphAgglomeration(4, variance=0.9, normalize=False).fit(X)
    assert accuracy(y, model.labels_) == 1
    assert model.points_.shape[1] < 30


@pytest.mark.parametrize("offset", [0.0, 1e7])
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_do_not_matter(scale, offset):
    X, _ = make_blobs(120, n_features=5, centers=3, random_state=0)
    expected = GraphAgglomeration(3).fit(X).labels_
    assert (GraphAgglomeration(3).fit((X + offset) * scale).labels_ == expected).all()


def test_images_are_rows_too_and_other_shapes_are_refused():
    X = np.random.default_rng(0).random((40, 5, 4, 3))
    model = GraphAgglomeration(2, neighbors=5).fit(X)
    assert (model.predict(X) == model.labels_).all()
    with pytest.raises(InvalidDataError, match="60 values"):
        model.predict(np.zeros((3, 5, 5)))
    with pytest.raises(InvalidDataError, match="3 rows"):
        GraphAgglomeration(5).fit(X[:3])
    with pytest.raises(InvalidParameterError, match="'linkage' parameter"):
        GraphAgglomeration(linkage="ward").fit(X)


def test_images_are_seen_from_black_and_flat_rows_from_their_mean():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    images = rng.random((3, 4, 4))[y] + 0.05 * rng.random((60, 4, 4))
    images[0, 0, 0] = 0.0
    dim = images * rng.uniform(0.2, 1.0, 60)[:, None, None]
    assert accuracy(y, GraphAgglomeration(3, neighbors=10).fit(dim - 7).labels_) == 1, "black is the darkest value"
    black = GraphAgglomeration(3, center=False).fit(images)
    assert (GraphAgglomeration(3).fit(images).points_ == black.points_).all()
    flat = images.reshape(60, 16)
    assert (GraphAgglomeration(3).fit(flat).points_ == GraphAgglomeration(3, center=True).fit(flat).points_).all()
