"""Layer-wise pretraining, and likelihoods whose decoder says how sure it is."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepclust import MLP, ClusterVAE, Conv, Gaussian, Guide, Schedule, Stacked, Trainer, VaDE
from deepclust.data.rows import Spec
from deepclust.errors import InvalidParameterError
from deepclust.networks.likelihood import make_likelihood

SHORT = Schedule(epochs=12, batch_size=32)


@pytest.mark.parametrize(
    ("network", "spec"),
    [
        (MLP(hidden=(8, 6, 7), latent=3), Spec((10,), 50)),
        (MLP(hidden=(), latent=3), Spec((10,), 50)),
        (MLP(hidden=(8,), latent=3), Spec((1, 4, 5), 50)),
        (Conv(channels=(4, 6), dense=9, latent=3), Spec((1, 9, 7), 50)),
        (Conv(channels=(4, 6), dense=0, latent=3), Spec((3, 8, 8), 50)),
    ],
    ids=["mlp", "linear", "mlp-image", "conv", "conv-no-dense"],
)
def test_stages_are_the_network_cut_in_pairs(network, spec):
    built = network.build(spec)
    x = torch.rand(4, *spec.shape)
    h, before = x, [x.shape]
    for encode, _ in built.stages:
        h = encode(h)
        before.append(h.shape)
    assert_close(h, built.embed(x))
    for number, (_, decode) in reversed(list(enumerate(built.stages))):
        h = decode(h)
        assert h.shape == before[number], "a stage's decoder gives back what its encoder took"
    assert_close(h, built.decode(built.embed(x)))
    own = {id(p) for pair in built.stages for part in pair for p in part.parameters()}
    assert own == {id(p) for p in built.parameters()}


def test_stacked_pretraining_trains_every_layer_and_then_the_whole(blobs):
    X, _ = blobs
    stacked = Stacked(layers=SHORT, fine_tune=SHORT, noise=0.1)
    model = VaDE(
        3,
        network=MLP(hidden=(16, 8), latent=3),
        pretrain=stacked,
        schedule=SHORT,
        trainer=Trainer(precision="fp32"),
        random_state=0,
    ).fit(X)
    phases = list(dict.fromkeys(line["phase"] for line in model.result_.history))
    assert phases == ["layer-0", "layer-1", "layer-2", "pretrain", "cluster"]
    for phase in phases[:3]:
        losses = [line["loss"] for line in model.result_.history if line["phase"] == phase]
        assert losses[-1] < losses[0]
    assert np.mean(model.labels_ == model.predict(X)) == 1
    led = ClusterVAE(3, network=Conv(channels=(4,), dense=8, latent=2), guide=Guide(pretrain=stacked), random_state=0)
    led.set_params(schedule=SHORT, trainer__precision="fp32").fit(X.reshape(-1, 4, 5))
    assert "layer-2" in {line["phase"] for line in led.result_.history}


def test_stacked_pretraining_of_a_network_without_stages_is_refused(blobs):
    network = (torch.nn.Linear(20, 3), torch.nn.Linear(3, 20))
    with pytest.raises(InvalidParameterError, match="made of stages"):
        VaDE(3, network=network, pretrain=Stacked(layers=SHORT)).fit(blobs[0])


@pytest.mark.parametrize("bounded", [False, True])
def test_decoder_that_gives_variances_is_a_likelihood_of_each_value(bounded):
    likelihood = make_likelihood(Gaussian(scope="row", bounded=bounded), Spec((3,), 10))
    output, x = torch.randn(5, 6), torch.rand(5, 3)
    mean = torch.sigmoid(output[:, :3]) if bounded else output[:, :3]
    expected = -torch.distributions.Normal(mean, (0.5 * output[:, 3:]).exp()).log_prob(x).sum(1)
    assert_close(likelihood.nll(output, x), expected)
    assert_close(likelihood.mean(output), mean)


def test_decoder_that_gives_variances_learns_where_the_noise_is():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 200)
    X = np.where(y == 0, -3.0, 3.0)[:, None] + rng.normal(size=(400, 6)) * np.where(y == 0, 0.1, 1.0)[:, None]
    model = VaDE(
        2,
        network=MLP(hidden=(32,), latent=2),
        likelihood=Gaussian(scope="row"),
        pretrain=Schedule(epochs=60, batch_size=32),
        schedule=Schedule(epochs=60, batch_size=32, clip_norm=5.0),
        trainer=Trainer(precision="fp32"),
        random_state=0,
    ).fit(X.astype(np.float32))
    with torch.no_grad():
        scaled = model.scaler_(torch.from_numpy(X.astype(np.float32)))
        log_var = model.model_.network.decode(model.model_.embed(scaled)).chunk(2, dim=1)[1].mean(1).numpy()
    assert log_var[y == 0].mean() < log_var[y == 1].mean() - 1
    assert model.reconstruct(X.astype(np.float32)).shape == X.shape
    assert model.sample(4, random_state=0).X.shape == (4, 6)
    images = model.__class__(2, network=Conv(channels=(3,), dense=4, latent=2), likelihood=Gaussian(scope="row"))
    images.set_params(pretrain__epochs=1, schedule__epochs=1, trainer__precision="fp32", random_state=0)
    assert images.fit(rng.random((40, 6, 5))).reconstruct(rng.random((3, 6, 5))).shape == (3, 6, 5)
