"""SpectralNet: clusters that no straight line separates, labels that never move, none of the known defects."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_moons

from deepclust import MLP, Affinity, Budget, Schedule, Siamese, SpectralMap, SpectralNet, accuracy

SHORT = Schedule(epochs=Budget(passes=1, least_steps=400, most_steps=400), batch_size=256)


def moons(n=1000):
    return make_moons(n, noise=0.06, random_state=0)


def test_two_moons_are_told_apart_where_k_means_cannot():
    X, y = moons()
    model = SpectralNet(2, mapping=SpectralMap(hidden=(64, 64)), schedule=SHORT, random_state=0).fit(X)
    assert accuracy(y, model.labels_) > 0.98
    assert accuracy(y, KMeans(2, n_init=10, random_state=0).fit_predict(X)) < 0.9
    assert model.model_.siamese is None, "rows of two values are their own codes"
    event = next(event for event in model.result_.events if event["kind"] == "orthonormal")
    assert event["error"] < 1e-5
    for rows in (slice(0, 1), slice(0, 5), slice(None)):
        assert (model.predict(X[rows]) == model.labels_[rows]).all()
    fresh, labels = moons(500)
    assert accuracy(labels, model.predict(fresh)) > 0.97


@pytest.mark.parametrize("preset", ["paper", "package"])
@pytest.mark.parametrize("data", [None, "two-moons"])
def test_presets_fit_and_labels_do_not_move(preset, data, blobs):
    X = blobs[0]
    model = SpectralNet.preset(preset, data=data, n_clusters=3, random_state=0)
    short = Schedule(epochs=3, batch_size=100)
    model.set_params(schedule=short, mapping__hidden=(16,))
    if data is None:
        model.set_params(
            network=MLP(hidden=(16,), latent=4), pretrain=short, siamese=Siamese(hidden=(8, 4), schedule=short)
        )
    model.fit(X)
    assert (model.predict(X) == model.labels_).all()
    assert (model.predict(X) == model.labels_).all()
    assert model.transform(X).shape == (150, 3)


def test_siamese_network_serves_the_graph_alone(blobs):
    short = Schedule(epochs=3, batch_size=60)
    model = SpectralNet(
        3,
        network=MLP(hidden=(16,), latent=4),
        siamese=Siamese(hidden=(8, 4), schedule=short),
        mapping=SpectralMap(hidden=(16,)),
        pretrain=short,
        schedule=short,
        random_state=0,
    ).fit(blobs[0])
    with torch.no_grad():
        for p in model.model_.siamese.parameters():
            p.zero_()
    assert (model.predict(blobs[0]) == model.labels_).all()


def test_weights_of_the_last_layer_are_saved(tmp_path, blobs):
    from deepclust import load

    short = Schedule(epochs=2, batch_size=60)
    model = SpectralNet(
        3, network=None, siamese=None, mapping=SpectralMap(hidden=(16,)), schedule=short, random_state=0
    )
    model.fit(blobs[0]).save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.transform(blobs[0]), model.transform(blobs[0]))
    assert not torch.equal(again.model_.last.weights, torch.eye(3, dtype=torch.float64))


def test_batches_of_the_published_kind_separate_far_groups(blobs):
    X, y = blobs
    near = Affinity(scope="batch", neighbors=10, counts_self=True, scale_neighbor=5)
    model = SpectralNet(
        3, network=None, siamese=None, affinity=near, mapping=SpectralMap(hidden=(32,)), schedule=SHORT, random_state=0
    ).fit(X)
    assert accuracy(y, model.labels_) > 0.98


def test_images_are_seen_changed_and_cut_in_more_directions_than_clusters(digits, tmp_path):
    """Digits, all of them: the default is well above the exact normalised cut of the codes' graph, which gives .78."""
    from deepclust import load

    X, y = digits
    short = Schedule(epochs=Budget(passes=1, least_steps=300, most_steps=300))
    siamese = Siamese(sees="rows", schedule=short(batch_size=192, augment="auto"))
    model = SpectralNet(
        10,
        siamese=siamese,
        mapping=SpectralMap(hidden=(64,), more=0.25, directions=True),
        pretrain=short,
        random_state=0,
    ).set_params(schedule__epochs=Budget(passes=1, least_steps=300, most_steps=300), schedule__batch_size=512)
    model.fit(X)
    assert accuracy(y, model.labels_) > 0.85
    assert model.model_.siamese is None
    assert model.transform(X[:5]).shape == (5, 12)
    assert (model.predict(X) == model.labels_).all()
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.allclose(again.predict_proba(X[:100]), model.predict_proba(X[:100]), atol=1e-6)
    far = model.model_.place(torch.from_numpy(model.transform(X[:5])) * 7)
    assert torch.allclose(far, model.model_.place(torch.from_numpy(model.transform(X[:5]))))
