"""Very many points: a sample is partitioned, and the others join their nearest."""

import pytest
import torch
from sklearn.datasets import make_blobs
from tests.common.small import small

from deepclust import accuracy
from deepclust.engine.phase import permutation
from deepclust.engine.samplers import Within
from deepclust.partition import by_sample, kmeans, sampled


def test_the_others_join_their_nearest(monkeypatch):
    X, _ = make_blobs(3000, n_features=4, centers=5, random_state=1)
    points = torch.from_numpy(X)
    whole = by_sample(points, lambda z: kmeans(z, 5, seed=0).labels, seed=0)
    assert whole.rows is None
    monkeypatch.setattr(sampled, "MOST", 1000)
    monkeypatch.setattr(sampled, "SAMPLE", 300)
    monkeypatch.setattr(sampled, "_BLOCK", 700)
    seen = []
    found = by_sample(points, lambda z: seen.append(len(z)) or kmeans(z, 5, seed=0).labels, seed=0)
    assert seen == [300]
    assert found.rows == 300
    assert accuracy(whole.labels.numpy(), found.labels.numpy()) > 0.99


def test_a_fit_says_that_its_start_is_of_a_sample(monkeypatch):
    X, y = make_blobs(400, n_features=6, centers=3, random_state=0)
    monkeypatch.setattr(sampled, "MOST", 200)
    monkeypatch.setattr(sampled, "SAMPLE", 100)
    model = small("dec", n_clusters=3, epochs=2).fit(X)
    assert {"kind": "partition of a sample", "rows": 100} in model.result_.events
    assert accuracy(y, model.labels_) > 0.95


@pytest.mark.parametrize("name", ["two_stage", "spectralnet", "dual_autoencoder", "jule"])
def test_what_needs_all_rows_at_once_takes_a_sample(name, monkeypatch):
    X, y = make_blobs(400, n_features=12, centers=3, random_state=0)
    monkeypatch.setattr(sampled, "MOST", 200)
    monkeypatch.setattr(sampled, "SAMPLE", 100)
    monkeypatch.setattr("deepclust.methods.jule._EXEMPLARS", 100)
    model = small(name, n_clusters=3, epochs=10).fit(X)
    assert [event["rows"] for event in model.result_.events if event["kind"].endswith("of a sample")][-1] == 100
    assert len(model.labels_) == 400
    assert accuracy(y, model.labels_) > 0.95


def test_rows_within_a_sample_have_their_own_numbers():
    chosen = torch.tensor([3, 5, 8, 13, 21])
    found = list(Within(chosen, permutation)(100, 2, 6, torch.Generator().manual_seed(0)))
    assert torch.cat(found[:3]).sort().values.tolist() == chosen.tolist()
    assert all(set(rows.tolist()) <= set(chosen.tolist()) for rows in found)
