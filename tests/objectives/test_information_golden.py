"""The Jensen-Shannon bound, reconstructions that are relative, and codes near their class means."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from deepclust import (
    MLP,
    Callback,
    DoubleConv,
    Dual,
    DualAutoencoderSpectral,
    Guide,
    Information,
    Schedule,
    SpectralHead,
    Trainer,
)
from deepclust.data.rows import Spec
from deepclust.objectives.gaussian import kl_to_components
from deepclust.objectives.information import information_cost
from deepclust.objectives.one_step import class_cost

BOUNDS = [(0.0, -1.3863), (0.3, -1.3625), (0.5, -1.3125), (0.7, -1.2107), (0.9, -0.9572)]


def pairs(rho, n, seed=0):
    rng = np.random.default_rng(seed)
    x, e = rng.normal(size=(2, n))
    return torch.tensor(x), torch.tensor(rho * x + math.sqrt(1 - rho**2) * e)


def ratio(x, z, rho):
    """The best discriminator: the log of the ratio of joint to product density."""
    power = (rho**2 * x**2 - 2 * rho * x * z + rho**2 * z**2) / (2 * (1 - rho**2))
    return -0.5 * math.log(1 - rho**2) - power


@pytest.mark.parametrize(("rho", "bound"), BOUNDS)
def test_best_discriminator_reaches_the_known_bound(rho, bound):
    x, z = pairs(rho, 400_000)
    cost = information_cost(ratio(x, z, rho), ratio(x, z.roll(1), rho))
    assert float(cost) == pytest.approx(-bound, abs=0.006)


def test_discriminator_that_knows_nothing_costs_twice_log_two():
    zero = torch.zeros(5, 7, 1)
    assert float(information_cost(zero, zero)) == pytest.approx(1.386294, abs=1e-6)


def test_trained_discriminator_stays_below_the_best_and_rises_with_dependence():
    found = []
    for rho in (0.0, 0.5, 0.9):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for step in range(300):
            x, z = (v.float() for v in pairs(rho, 512, seed=step))
            cost = information_cost(net(torch.stack([x, z], 1)), net(torch.stack([x, z.roll(1)], 1)))
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
        x, z = (v.float() for v in pairs(rho, 100_000, seed=10**6))
        with torch.no_grad():
            cost = information_cost(net(torch.stack([x, z], 1)), net(torch.stack([x, z.roll(1)], 1)))
        found.append(-float(cost))
        assert -float(cost) <= dict(BOUNDS)[rho] + 0.01
    assert found[0] < found[1] < found[2]
    assert found[2] > -1.05


def model_of(**params):
    torch.manual_seed(0)
    method = DualAutoencoderSpectral(3, network=DoubleConv(channels=(4, 6), latent=5), **params)
    return method, method._build(Spec((1, 8, 8), 20, 0.0, 1.0))


def joint(judge, pair):
    """The discriminator as one network on what was seen and the code together."""
    weight = torch.cat([judge.seen.weight, judge.code.weight], 1)
    return judge.rest(F.linear(pair, weight, judge.seen.bias))


def test_local_estimator_sees_the_middle_map_with_the_code_at_every_place():
    _, model = model_of()
    x = torch.rand(6, 1, 8, 8)
    mean, _, h, middle = model.encode(x)
    assert middle.shape == (6, 4, 4, 4)
    assert (model.part.seen.in_features, model.part.code.in_features) == (4, 5)
    assert_close(model.embed(x), mean)
    with_map, without = model.information(h, middle, mean), model.information(h, None, mean)
    # With one place and no global term it is the global formula on the map's vector.
    one = middle[:, :, :1, :1]
    true, false = (joint(model.part, torch.cat([one.flatten(1), code], 1)) for code in (mean, mean.roll(1, 0)))
    assert_close(model.information(h, one, mean) - without, information_cost(true, false))
    assert with_map > without
    flat = DualAutoencoderSpectral(3, network=MLP(hidden=(8,), latent=2))._build(Spec((4,), 20, 0.0, 1.0))
    assert flat.part is None
    assert model_of(information=Information(local=False))[1].part is None


def test_local_estimator_of_some_places_has_the_mean_over_all():
    _, full = model_of(information=Information(places=None))
    _, some = model_of(information=Information(places=5))
    some.load_state_dict(full.state_dict())
    x = torch.rand(6, 1, 8, 8)
    with torch.no_grad():
        mean, _, h, middle = full.encode(x)
        exact = float(full.information(h, middle, mean))
        drawn = torch.tensor([float(some.information(h, middle, mean)) for _ in range(2_000)], dtype=torch.float64)
    assert drawn.std() > 0
    assert float(drawn.mean()) == pytest.approx(exact, abs=4 * float(drawn.std()) / 2_000**0.5)


def test_relative_reconstruction_is_zero_without_noise_and_for_a_decoder_that_does_not_listen():
    x = torch.rand(6, 1, 8, 8)

    def relative(method, model):
        with torch.no_grad():
            return float(method._terms(model, x, in_classes=False)[0]["relative"])

    method, model = model_of(dual=Dual(noise="multiplicative", spread=0.0))
    assert relative(method, model) == pytest.approx(0, abs=1e-9)
    noisy = method.set_params(dual__spread=0.5)
    assert relative(noisy, model) > 0
    with torch.no_grad():
        model.network.autoencoder.decoder[0].weight.zero_()
    assert relative(noisy, model) == pytest.approx(0, abs=1e-9)
    additive, model = model_of()
    model.network.reset_log_var(-10.0)
    small = relative(additive, model)
    model.network.reset_log_var(2.0)
    assert small < 1e-3 * relative(additive, model)


def test_prior_of_the_classes():
    means = torch.randn(3, 4, dtype=torch.float64)
    zero = torch.zeros(1, 4, dtype=torch.float64)
    kl = kl_to_components(means[1:2], zero, means, zero.expand(3, 4))
    assert float(kl[0, 1]) == 0
    moved = means[1:2] + torch.tensor([[0.6, 0, 0, 0]])
    assert float(kl_to_components(moved, zero, means, zero.expand(3, 4))[0, 1]) == pytest.approx(0.18)
    equal = kl_to_components(moved, zero - 0.3, torch.zeros(3, 4).double(), zero.expand(3, 4))
    assert_close(equal[0, 0], equal[0, 2])
    uniform = torch.full((1, 10), -math.log(10))
    assert float(class_cost(uniform)) == pytest.approx(0, abs=1e-6)  # log K is added: never negative
    sure = torch.log_softmax(50.0 * torch.eye(10)[:1], dim=1)
    assert float(class_cost(sure)) == pytest.approx(math.log(10), abs=1e-6)


@pytest.mark.parametrize("preset", ["paper", "code2019", "code2020"])
def test_presets_fit(preset, blobs):
    short = Schedule(epochs=3, batch_size=50)
    model = DualAutoencoderSpectral.preset(
        preset, n_clusters=3, network=MLP(hidden=(16,), latent=4), random_state=0, schedule=short, guide__pretrain=short
    ).set_params(head__hidden=(16,), head__settle=short)
    model.fit(blobs[0])
    assert (model.predict(blobs[0]) == model.labels_).all()
    assert np.isfinite([line["loss"] for line in model.result_.history]).all()


class AtFirst(Callback):
    """Keeps the discriminator's weights as they were drawn."""

    def on_phase_start(self, session, phase, at):
        if phase.name == "pretrain":
            self.weight = phase.model.whole.seen.weight.detach().clone()


@pytest.mark.parametrize("trained", [True, False])
def test_discriminators_train_only_when_they_are_to(trained, blobs):
    short, spy = Schedule(epochs=2, batch_size=50), AtFirst()
    model = DualAutoencoderSpectral(
        3,
        network=MLP(hidden=(16,), latent=4),
        information=Information(trained=trained, hidden=8),
        head=SpectralHead(hidden=(8,), settle=short),
        guide=Guide(start="kmeans", pretrain=short),
        schedule=short,
        trainer=Trainer(callbacks=(spy,)),
        random_state=0,
    ).fit(blobs[0])
    assert torch.equal(spy.weight, model.model_.whole.seen.weight) is not trained
