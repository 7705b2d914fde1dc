"""What sets clusters apart."""

import numpy as np
import pytest

from deepclust.report.charts import confusion, curves, histogram
from deepclust.report.describe import features, least_apart, nearest_clusters, rule
from deepclust.report.layout import lay_out
from deepclust.report.texts import LANGUAGES, plain, speak, texts
from deepclust.report.thumbnails import chosen_rows, sheet_of


def test_features_are_ranked_by_their_difference_in_standard_deviations():
    X = np.zeros((8, 3))
    X[:4, 1], X[:, 2] = 10.0, np.arange(8)
    found = features(X, np.arange(4), ["constant", "ten", "rising"])
    assert [f.name for f in found] == ["ten", "rising", "constant"]
    assert found[0].effect == pytest.approx(1.0)
    assert found[1].effect == pytest.approx((1.5 - 3.5) / np.arange(8).std())
    assert found[2].effect == 0


def test_rule_finds_the_box_that_a_cluster_was_made_from():
    X = np.random.default_rng(0).random((2_000, 4))
    member = (X[:, 1] > 0.3) & (X[:, 1] <= 0.6) & (X[:, 3] > 0.5)
    found = rule(X, member, ["a", "b", "c", "d"])
    assert "b" in found.text
    assert "d" in found.text
    assert "a " not in found.text
    assert found.precision > 0.95
    assert found.recall > 0.95
    assert rule(X, np.ones(2_000, dtype=bool), list("abcd")) is None
    assert rule(X, np.zeros(2_000, dtype=bool), list("abcd")) is None


def test_neighbours_of_a_cluster_are_those_with_near_means_and_never_empty_ones():
    codes = np.array([[0.0], [0.0], [1.0], [5.0]])
    assert nearest_clusters(codes, np.array([0, 0, 1, 3]), 4) == [[1, 3], [0, 3], [], [1, 0]]
    assert nearest_clusters(codes, np.zeros(4, dtype=int), 2) == [[], []]


def test_least_apart_are_the_two_between_which_most_rows_are_torn():
    proba = np.array([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
    found = least_apart(proba, proba.argmax(axis=1))
    assert (found.a, found.b) == (0, 1)
    assert found.share == pytest.approx(2 / 3)
    assert least_apart(np.eye(3), np.arange(3)) is None


def test_rows_outside_the_sample_lie_where_their_neighbours_do():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=(150, 3)), rng.normal(size=(150, 3)) + 20])
    layout = lay_out(z, most=200)
    assert layout.fitted == 200
    assert layout.points.shape == (300, 2)
    first, second = layout.points[:150], layout.points[150:]
    gap = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert gap > 3 * max(first.std(axis=0).max(), second.std(axis=0).max())
    few = lay_out(z[:20])
    assert few.kind == "pca"
    assert 0 < few.explained <= 1


def test_without_umap_the_map_is_a_projection(monkeypatch):
    import deepclust.report.layout as module
    from deepclust.errors import MissingExtraError

    def missing(*args, **kwargs):
        raise MissingExtraError("no umap")

    monkeypatch.setattr(module, "manifold_coordinates", missing)
    z = np.random.default_rng(0).normal(size=(90, 1))
    layout = lay_out(z)
    assert layout.kind == "pca"
    assert (layout.points[:, 1] == 0).all()


@pytest.mark.parametrize("shape", [(50, 28, 28), (50, 40, 20, 3), (1, 3, 3)])
def test_sheet_of_thumbnails_holds_every_picture(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sheet = sheet_of(images, np.arange(shape[0]))
    assert max(sheet.width, sheet.height) <= 32
    assert sheet.columns**2 >= shape[0]
    assert sheet.uri.startswith("data:image/")
    assert len(chosen_rows(100, most=10)) == 10


def test_charts_escape_what_they_are_given():
    name = '<script>alert("x")</script>'
    for chart in (curves({name: [1.0, 2.0]}, ["#000"]), confusion(np.eye(2, dtype=int), [name, "b"], ["c", name])):
        assert "<script" not in chart
        assert "&lt;script" in chart
    assert histogram(np.array([0.1, 0.9, 1.0])).count("<rect") == 20


def test_texts_are_there_in_every_language_with_the_same_values():
    import re

    for key, said in texts().items():
        assert set(said) == set(LANGUAGES), key
        fields = [set(re.findall(r"{(\w+)}", said[language])) for language in LANGUAGES]
        assert fields[0] == fields[1], key
    assert str(speak("cluster", name="<b>")).count("&lt;b&gt;") == 2
    assert plain("cluster", "zh", name="3") == "簇 3"
