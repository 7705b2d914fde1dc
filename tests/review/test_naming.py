"""Names of clusters, and clusters that are joined by them."""

import numpy as np
import pytest
import torch

from deepclust import MLP, Schedule, Trainer, TwoStage, VaDE, load
from deepclust.errors import InvalidDataError, InvalidParameterError, UnreadableFileError
from deepclust.naming import Naming, read_names

QUICK = {"network": MLP(hidden=(16,), latent=3), "pretrain": Schedule(epochs=3, batch_size=32)}


@pytest.fixture(scope="module")
def fitted():
    X = np.random.default_rng(0).normal(size=(120, 6)) + np.repeat(np.eye(6)[:4] * 9, 30, axis=0)
    clustering = {"start": "kmeans", "schedule": Schedule(epochs=3, batch_size=32)}
    return VaDE(4, random_state=0, trainer=Trainer(precision="fp32"), **QUICK, **clustering).fit(X), X


@pytest.fixture
def model(fitted, tmp_path):
    fitted[0].save(tmp_path / "model")
    return load(tmp_path / "model")


def test_clusters_of_one_name_are_one_under_the_lowest_number():
    naming = Naming.given({1: "cat", 3: " cat ", 2: "dog"}, 4)
    assert naming.names == ("0", "cat", "dog", "cat")
    assert naming.into == (0, 1, 2, 1)
    assert naming.members(1).tolist() == [1, 3]
    proba = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    torch.testing.assert_close(naming.joined(proba), torch.tensor([[0.1, 0.6, 0.3, 0.0], [0.7, 0.2, 0.1, 0.0]]))
    apart = Naming.given({3: "lynx"}, 4, naming)
    assert apart.names == ("0", "cat", "dog", "lynx")
    assert apart.joined(proba) is proba


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({4: "x"}, r"no cluster 4 to name; there are 0..3"),
        ({"1": "x"}, "no cluster '1'"),
        ({True: "x"}, "no cluster True"),
        ({0: "  "}, "printable"),
        ({0: "a\nb"}, "printable"),
        ({0: 5}, "printable"),
    ],
)
def test_wrong_names_are_refused(names, sentence, model):
    with pytest.raises(InvalidParameterError, match=sentence):
        model.relabel(names)
    assert model.naming_ is None


def test_a_joined_model_predicts_the_joined_clusters_and_comes_apart_again(fitted, model, tmp_path):
    X, before = fitted[1], fitted[0].labels_
    model.relabel({1: "both", 3: "both"})
    expected = np.where(before == 3, 1, before)
    proba = model.predict_proba(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    np.testing.assert_array_equal(model.labels_, proba.argmax(1))
    assert (model.labels_ == expected).mean() > 0.98, "a sum of two may pass a third"
    assert (proba[:, 3] == 0).all()
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)
    model.save(tmp_path / "joined")
    again = load(tmp_path / "joined")
    assert again.naming_ == model.naming_
    np.testing.assert_array_equal(again.labels_, model.labels_)
    again.relabel({3: "alone"})
    np.testing.assert_array_equal(again.labels_, before)
    np.testing.assert_array_equal(again.predict(X), before)


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_joined_clusters_are_drawn_from_together(threshold, model, monkeypatch):
    asked, draw = set(), model.model_.sample_codes
    monkeypatch.setattr(model.model_, "sample_codes", lambda c, *rest: asked.update(c.tolist()) or draw(c, *rest))
    model.relabel({0: "pair", 2: "pair"})
    drawn = model.sample(200, 0, threshold=threshold, temperature=0.3, random_state=0)
    assert set(drawn.clusters.tolist()) == {0}
    assert asked == {0, 2}, "members of both"
    everything = model.sample(100, random_state=0)
    assert 2 not in set(everything.clusters.tolist())
    if threshold is not None:
        assert 0 < drawn.acceptance[0] <= 1
        assert np.isnan(drawn.acceptance[2])
    with pytest.raises(InvalidParameterError, match="joined with cluster 0"):
        model.sample(3, 2)


def test_every_method_takes_names(blobs):
    brief = Schedule(epochs=3, batch_size=32)
    model = TwoStage(3, network=QUICK["network"], schedule=brief, random_state=0, trainer=Trainer(precision="fp32"))
    model.fit(blobs[0])
    model.relabel({0: "a", 1: "a", 2: "a"})
    assert set(model.predict(blobs[0]).tolist()) == {0}
    assert model.fit(blobs[0]).naming_ is None, "names are those of one fit"


def test_names_are_read_from_a_table(tmp_path):
    file = tmp_path / "names.csv"
    file.write_text('\ufeffcluster,name\n2,"x, y"\n0,零\n', encoding="utf-8")
    assert read_names(file) == {2: "x, y", 0: "零"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cluster,name\n1,a\n1,b\n", "Line 3 of .* names cluster 1 a second time"),
        ("cluster,name\nx,a\n", "Line 2 of .* must hold the number"),
        ("cluster,name\n1,\n", "Line 2 of"),
        ("cluster,name\n1\n", "Line 2 of"),
        ("cluster,title\n1,a\n", "must have the columns 'cluster' and 'name'"),
        ("cluster,name\n", "names no cluster"),
        ("", "names no cluster"),
    ],
)
def test_wrong_tables_of_names_are_refused(text, sentence, tmp_path):
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises(InvalidDataError, match=sentence):
        read_names(tmp_path / "names.csv")
    (tmp_path / "names.csv").write_bytes(b"cluster,name\n1,\xff\n")
    with pytest.raises(UnreadableFileError, match="cannot be read as CSV"):
        read_names(tmp_path / "names.csv")
