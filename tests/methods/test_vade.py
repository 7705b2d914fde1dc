"""VaDE beyond the contract: its bound, its start, its hand-over, its presets."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepclust import MLP, Gaussian, Handover, Schedule, Trainer, VaDE, accuracy
from deepclust.data.batch import Batch, Progress
from deepclust.errors import InvalidDataError, InvalidParameterError
from deepclust.networks.likelihood import BernoulliLikelihood, GaussianLikelihood


@pytest.fixture(scope="module")
def projected():
    """Three separate Gaussians in a plane, pushed through a random linear map to twenty dimensions."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    z = np.array([[0, 0], [6, 0], [0, 6]])[y] + rng.normal(size=(600, 2))
    return (z @ rng.normal(size=(2, 20))).astype(np.float32), y


def small(**params):
    base = {
        "network": MLP(hidden=(32,), latent=2),
        "pretrain": Schedule(epochs=60),
        "schedule": Schedule(epochs=60, clip_norm=5.0),
        "trainer": Trainer(batch_size=64, precision="fp32"),
        "random_state": 0,
    }
    return VaDE(3, **{**base, **params})


@pytest.fixture(scope="module")
def fitted(projected):
    """The small one, fitted; tests look at it and leave it as it is."""
    return small().fit(projected[0])


@pytest.mark.parametrize("start", ["linkage", "spectral", "kmeans", "mixture"])
@pytest.mark.parametrize("posterior", ["exact", "sampled"])
def test_separate_gaussians_are_found_from_every_start(start, posterior, projected):
    X, y = projected
    model = small(start=start, posterior=posterior).fit(X)
    assert accuracy(y, model.labels_) > 0.98
    assert accuracy(y, model.result_.start_labels) > 0.9


@pytest.mark.parametrize("likelihood", [Gaussian(learn=False, variance=0.1), Gaussian(), "bernoulli"])
def test_every_likelihood_learns(likelihood, projected):
    X, y = projected
    X = (X - X.min()) / (X.max() - X.min())
    model = small(likelihood=likelihood).fit(X)
    assert accuracy(y, model.labels_) > 0.95


def test_learned_variance_finds_the_noise_and_keeps_its_floor(projected):
    X, _ = projected
    noisy = X + np.random.default_rng(1).normal(size=X.shape).astype(np.float32) * np.array(
        [0.0] * 10 + [2.0] * 10, np.float32
    )
    model = small().fit(noisy)
    variance = model.model_.likelihood.log_var.detach().exp()
    assert variance[:10].mean() < variance[10:].mean()
    assert small(likelihood=Gaussian(floor=0.5)).fit(X).model_.likelihood.floor == pytest.approx(np.log(0.5))


def test_likelihood_follows_the_range_of_the_data(projected):
    X, _ = projected
    assert isinstance(small(schedule=Schedule(epochs=1)).fit(X).model_.likelihood, GaussianLikelihood)
    unit = (X - X.min()) / (X.max() - X.min())
    assert isinstance(small(schedule=Schedule(epochs=1)).fit(unit).model_.likelihood, BernoulliLikelihood)
    with pytest.raises(InvalidDataError, match="likelihood='bernoulli' needs values >= 0"):
        small(likelihood="bernoulli").fit(X)


def batch_of(model, X, share=0.99):
    x = model.scaler_(torch.from_numpy(X))
    return Batch(x, torch.arange(len(x)), Progress(0, 1, int(share * 100), 100))


def test_score_is_the_negative_of_the_objective_up_to_its_noise(projected, fitted):
    X, _ = projected
    model = fitted
    torch.manual_seed(0)
    labels = torch.from_numpy(model.labels_)
    with torch.no_grad():
        loss = np.mean([float(sum(model._bound(model.model_, batch_of(model, X), labels).values())) for _ in range(30)])
    assert model.score(X) == pytest.approx(-loss, rel=0.01)


def test_sampled_bound_is_below_the_exact_one(projected, fitted):
    X, _ = projected
    model = fitted
    sampled = small(posterior="sampled")
    labels, batch = torch.from_numpy(model.labels_), batch_of(model, X)
    costs = []
    for estimator in (model, sampled):
        torch.manual_seed(0)
        with torch.no_grad():
            terms = estimator._bound(model.model_, batch, labels)
        costs.append(float(terms["code"] + terms["cluster"]))
    assert costs[0] <= costs[1]


def test_holding_costs_the_bound_of_the_held_assignment_plus_the_pull(projected):
    X, _ = projected
    model = small(handover=Handover(hold=0.5, pull=3.0, warmup=0.0)).fit(X)
    labels = torch.from_numpy((model.labels_ + 1) % 3)  # wrong on purpose
    with torch.no_grad():
        torch.manual_seed(0)
        held = model._bound(model.model_, batch_of(model, X, 0.4), labels)
        torch.manual_seed(0)
        free = model._bound(model.model_, batch_of(model, X, 0.6), labels)
    assert held.keys() == free.keys() == {"reconstruction", "code", "cluster", "hold"}
    assert free["hold"] == 0
    gap = held["code"] + held["cluster"] - free["code"] - free["cluster"]
    assert_close(held["hold"], 3.0 * gap)  # what a held assignment costs over the best one is its cross-entropy


def test_weight_of_divergences_rises_over_the_warmup(projected):
    X, _ = projected
    model = small(handover=Handover(hold=0.0, warmup=0.5)).fit(X)
    labels = torch.from_numpy(model.labels_)
    costs = []
    for share in (0.0, 0.25, 0.5, 0.9):
        torch.manual_seed(0)
        with torch.no_grad():
            costs.append(float(model._bound(model.model_, batch_of(model, X, share), labels)["code"]))
    assert costs[0] == 0
    assert costs[1] == pytest.approx(costs[2] / 2)
    assert costs[2] == pytest.approx(costs[3])


def test_posterior_starts_narrow_and_mixture_where_the_start_says(projected):
    X, _ = projected
    model = small(schedule=Schedule(epochs=1, lr=1e-12)).fit(X)
    _, log_var = model.model_.network.posterior(model.scaler_(torch.from_numpy(X[:5])))
    spread = model.result_.embedding.std(axis=0)
    expected = 2 * np.log(0.1 * np.sqrt((spread**2).mean()))
    assert_close(log_var, torch.full((5, 2), expected), atol=1e-3, rtol=0)
    for c in range(3):
        members = model.result_.embedding[model.result_.start_labels == c]
        np.testing.assert_allclose(model.model_.mixture.means[c].detach(), members.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(model.model_.cluster_weights.sum(), 1, rtol=1e-6)


def test_one_cluster_is_a_variational_auto_encoder(projected):
    X, _ = projected
    model = small().set_params(n_clusters=1).fit(X)
    assert (model.labels_ == 0).all()
    assert_close(torch.from_numpy(model.result_.proba), torch.ones(600, 1))


def test_paper_preset_is_the_paper():
    model = VaDE.preset("paper", data="mnist", random_state=3)
    assert model.network == MLP(hidden=(500, 500, 2000), latent=10)
    assert (model.posterior, model.start, model.random_state) == ("sampled", "mixture", 3)
    assert (model.handover.hold, model.handover.warmup) == (0.0, 0.0)
    assert VaDE.preset("paper", data="reuters-10k").schedule.epochs == 15
    assert VaDE.preset("paper", data="hhar").schedule.epochs == 120
    with pytest.raises(InvalidParameterError, match="has no preset 'papr'; it has: paper"):
        VaDE.preset("papr")


def test_samples_of_a_cluster_surround_its_mean(fitted):
    model = fitted
    drawn, clusters = model.sample(2000, random_state=0)
    np.testing.assert_allclose(np.bincount(clusters) / 2000, model.model_.cluster_weights, atol=0.05)
    assert np.mean(model.predict(drawn) == clusters) > 0.95, "the model assigns its samples to where they came from"
    for c in range(3):
        own = model.model_.sample_codes(torch.full((4000,), c), torch.Generator().manual_seed(0))
        spread = (0.5 * model.model_.mixture.safe_log_vars[c]).exp()
        assert ((own.mean(0) - model.model_.mixture.means[c]).abs() < 5 * spread / 4000**0.5).all()


def test_layout_of_colour_images_survives_a_round_trip():
    X = np.random.default_rng(0).integers(0, 256, (60, 6, 5, 3), dtype=np.uint8)
    model = small(network="auto", schedule=Schedule(epochs=2), pretrain=Schedule(epochs=2)).fit(X)
    drawn, _ = model.sample(4, 1, random_state=0)
    assert drawn.shape == (4, 6, 5, 3)
    assert 0 <= drawn.min() <= drawn.max() <= 255
