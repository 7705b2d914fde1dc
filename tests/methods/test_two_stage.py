"""The step-wise way: every combination of network and partition."""

import numpy as np
import pytest

from deepclust import MLP, Schedule, Trainer, TwoStage, accuracy
from deepclust.errors import NotSupportedError


def small(**params):
    base = {
        "network": MLP(hidden=(32,), latent=4),
        "schedule": Schedule(epochs=60),
        "trainer": Trainer(batch_size=32, precision="fp32"),
        "random_state": 0,
    }
    return TwoStage(3, **{**base, **params})


@pytest.mark.parametrize("partition", ["kmeans", "mixture", "spectral", "manifold"])
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_every_combination_finds_the_groups(partition, variational, noise, blobs):
    X, y = blobs
    model = small(partition=partition, variational=variational, noise=noise).fit(X)
    assert accuracy(y, model.labels_) > 0.95
    assert (model.predict(X[::-1]) == model.labels_[::-1]).all()
    terms = set(model.result_.history[-1])
    assert ("prior" in terms) == variational


@pytest.mark.parametrize("partition", ["kmeans", "mixture"])
def test_partitions_with_a_density_generate(partition, blobs):
    model = small(partition=partition).fit(blobs[0])
    drawn, clusters = model.sample(300, random_state=0)
    assert np.mean(model.predict(drawn) == clusters) > 0.9


def test_spectral_cut_has_nothing_to_draw_from_but_predicts_new_rows(blobs):
    X, y = blobs
    model = small(partition="spectral").fit(X[:100])
    with pytest.raises(NotSupportedError, match="no distribution of codes"):
        model.sample(3)
    assert accuracy(y[100:], model.predict(X[100:])) > 0.95
    assert model.predict_proba(X).max(axis=1).min() >= 0.5


def test_spectral_cut_of_many_rows_keeps_landmarks(blobs, monkeypatch):
    monkeypatch.setattr("deepclust.methods.two_stage._EXEMPLARS", 60)
    X, y = blobs
    model = small(partition="spectral").fit(X)
    assert len(model.model_.head.codes) == 60
    assert accuracy(y, model.labels_) > 0.95
