"""Very many points: a sample is partitioned, and the others join their nearest."""

import torch
from sklearn.datasets import make_blobs
from tests.common.small import small

from deepclust import accuracy
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
