"""`partial_fit`: more rows, small steps, the same numbers for the same clusters."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from deepclust import accuracy, load
from deepclust.errors import InvalidDataError, InvalidParameterError
from deepclust.updating import _keep_numbers
from tests.common.small import DEEP, small

LEARNING = [name for name in DEEP if hasattr(small(name), "partial_fit")]


@pytest.fixture(scope="module")
def stream():
    X, y = make_blobs(900, n_features=20, centers=4, random_state=0)
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def begun(stream):
    return {name: small(name, epochs=30).partial_fit(stream[0][:300]) for name in LEARNING}


def test_the_methods_whose_objective_is_a_sum_over_rows_learn_in_batches():
    assert set(LEARNING) == {"vade", "cluster_vae", "gmvae", "dec", "idec", "dcn", "depict"}


@pytest.mark.parametrize("name", LEARNING)
def test_first_call_is_fit(name, stream, begun):
    fresh = small(name, epochs=30).fit(stream[0][:300])
    np.testing.assert_array_equal(begun[name].labels_, fresh.labels_)


@pytest.mark.parametrize("name", LEARNING)
def test_batches_keep_clusters_and_numbers(name, stream, begun, tmp_path):
    X, y = stream
    model = load(begun[name].save(tmp_path / "model"))
    before = model.predict(X)
    for begin in (300, 600):
        assert model.partial_fit(X[begin : begin + 300]) is model
        assert len(model.labels_) == 300
        np.testing.assert_array_equal(model.labels_, model.predict(X[begin : begin + 300]))
        assert not model.drift_.is_significant
        assert model.drift_.shares < 0.1
    assert np.mean(before == model.predict(X)) > 0.97, "numbers stay"
    assert accuracy(y, model.predict(X)) > 0.95
    assert {line["phase"] for line in model.result_.history} > {"update-1", "update-2"}
    assert any((a != b).any() for a, b in zip(begun[name].model_.parameters(), model.model_.parameters(), strict=True))
    again = load(model.save(tmp_path / "again"))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def interchange(model):
    with torch.no_grad():
        for part in model.by_cluster:
            part.copy_(part[torch.tensor([2, 0, 3, 1])].clone())


PRESETS = [*((name, None) for name in LEARNING), ("gmvae", "shu"), ("gmvae", "gumbel"), ("gmvae", "dilokthanakul-v1")]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_entries_of_clusters_make_the_same_model_in_any_order(name, preset, stream):
    X, _ = stream
    estimator = small(name, epochs=10, preset=preset).fit(X[:300])
    model, x = estimator.model_, estimator.scaler_(torch.from_numpy(X))
    with torch.no_grad():
        before, codes, score = model.assign(x), model.embed(x), model.score(x)
        interchange(model)
        torch.testing.assert_close(model.assign(x), before[:, [2, 0, 3, 1]])
        torch.testing.assert_close(model.embed(x), codes)
        torch.testing.assert_close(model.score(x), score)


@pytest.mark.parametrize("name", LEARNING)
def test_clusters_that_were_interchanged_are_put_back(name, stream):
    X, _ = stream
    estimator = small(name, epochs=30).fit(X[:300])
    model, x = estimator.model_, estimator.scaler_(torch.from_numpy(X))
    with torch.no_grad():
        before = model.assign(x)
        assert len(before.argmax(1).unique()) == 4
        interchange(model)
        moved = model.assign(x)
        assert (moved.argmax(1) != before.argmax(1)).all(), "the interchange shows"
        _keep_numbers(model, before.argmax(1), moved.argmax(1))
        torch.testing.assert_close(model.assign(x), before)


def test_drift_is_seen_where_rows_have_changed(stream, begun, tmp_path):
    X, _ = stream
    model = load(begun["vade"].save(tmp_path / "model"))
    model.partial_fit(X[300:600] + 1.0)
    assert model.drift_.is_significant
    assert model.drift_.codes > model.drift_.chance
    assert model.drift_.rows == 300
    one_sided = X[600:][model.predict(X[600:]) == 0]
    shifted = load(begun["vade"].save(tmp_path / "other")).partial_fit(one_sided)
    assert shifted.drift_.shares > 0.5


def test_same_batches_give_the_same_bits(stream, begun, tmp_path):
    saved = begun["vade"].save(tmp_path / "model")
    twins = [load(saved).partial_fit(stream[0][300:600], epochs=2) for _ in range(2)]
    np.testing.assert_array_equal(twins[0].result_.proba, twins[1].result_.proba)


def test_wrong_batches_are_refused_and_change_nothing(stream, begun, tmp_path):
    model = load(begun["vade"].save(tmp_path / "model"))
    before = model.predict_proba(stream[0])
    with pytest.raises(ValueError, match="20 features"):
        model.partial_fit(stream[0][:50, :19])
    with pytest.raises(InvalidDataError, match="NaN"):
        model.partial_fit(np.full((50, 20), np.nan))
    with pytest.raises(InvalidParameterError, match="'epochs' must be an int >= 1"):
        model.partial_fit(stream[0][:50], epochs=0)
    np.testing.assert_array_equal(model.predict_proba(stream[0]), before)
