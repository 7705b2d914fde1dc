"""Generation as verbs, for every registered method that has a model of its clusters."""

import numpy as np
import pytest
import torch

from deepclust import MLP, ClusterVAE, Gaussian, Guide, Trainer, VaDE
from deepclust.data.rows import Spec
from deepclust.errors import InvalidDataError, InvalidParameterError, NotSupportedError
from deepclust.methods.gmvae import GMVAE, Marginal, Style
from deepclust.model import AbstractDecodingModel, AbstractGenerativeModel, AbstractVariationalModel
from tests.common.small import DEEP


@pytest.fixture(params=DEEP)
def model(request, fitted):
    model = fitted[2][request.param]
    if not isinstance(model.model_, AbstractGenerativeModel):
        pytest.skip(f"{request.param} draws nothing")
    return model


def test_filtered_samples_belong_to_their_cluster(model):
    drawn = model.sample(80, threshold=0.95, random_state=0)
    assert len(drawn.X) == 80
    assert drawn.acceptance.shape == (4,)
    assert (drawn.acceptance > 0).all()
    assert (model.predict(drawn.X) == drawn.clusters).mean() >= 0.99
    plain = model.sample(80, random_state=0)
    assert plain.acceptance is None
    assert (plain.clusters == drawn.clusters).all(), "the filter changes codes, not the clusters asked for"
    own = model.sample(7, 2, threshold=0.5, random_state=0)
    assert (own.clusters == 2).all()
    assert np.isnan(own.acceptance[[0, 1, 3]]).all()


def test_a_filter_that_lets_nothing_through_ends_and_says_so(model, monkeypatch):
    monkeypatch.setattr(type(model.model_), "code_assignment", lambda self, z: torch.full((len(z), 4), 0.25))
    with pytest.warns(UserWarning, match=r"threshold=0.5 let too few codes through \(cluster 1: 0 of 3 in \d+ draws"):
        drawn = model.sample(3, 1, threshold=0.5, random_state=0)
    assert drawn.X.shape == (0, 20)
    assert drawn.acceptance[1] == 0


def test_temperature_zero_gives_the_mean_member_and_more_gives_more_spread(model):
    spread = [model.sample(200, 1, temperature=t, random_state=0).X.std(0).mean() for t in (0.0, 0.5, 1.0)]
    assert spread[0] < 1e-4
    assert spread[0] < spread[1] < spread[2]


def test_interpolation_starts_and_ends_at_the_reconstructions(model, fitted):
    X = fitted[0]
    way = model.interpolate(X[0], X[1], steps=5)
    assert way.shape == (5, 20)
    np.testing.assert_allclose(way[[0, -1]], model.reconstruct(X[:2]), atol=1e-3)
    ways = model.interpolate(X[:3], X[3:6], steps=4)
    assert ways.shape == (3, 4, 20)
    np.testing.assert_allclose(ways[:, 0], model.reconstruct(X[:3]), atol=1e-3)


def test_traversal_goes_through_the_mean_member(model):
    rows = model.traverse(2, 1, steps=5, span=2.0)
    assert rows.shape == (5, 20)
    np.testing.assert_allclose(rows[2], model.sample(1, 2, temperature=0.0, random_state=0).X[0], atol=1e-3)
    assert np.abs(rows[0] - rows[-1]).max() > 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m, X: m.sample(0), "'n' of .*sample must be an int >= 1"),
        (lambda m, X: m.sample(1, 4), r"'cluster' of .*sample must be in 0\.\.3"),
        (lambda m, X: m.sample(1, threshold=1.5), "'threshold'"),
        (lambda m, X: m.sample(1, temperature=-1), "'temperature'"),
        (lambda m, X: m.traverse(9, 0), "'cluster' of .*traverse"),
        (lambda m, X: m.traverse(0, 99), "'dim' of .*traverse"),
        (lambda m, X: m.interpolate(X[0], X[1], steps=1), "'steps'"),
        (lambda m, X: m.score_samples(X, importance_samples=0), "importance_samples"),
    ],
)
def test_wrong_requests_are_refused_by_name(model, fitted, call, sentence):
    if "importance" in sentence and not isinstance(model.model_, AbstractVariationalModel):
        pytest.skip("has no posterior")
    with pytest.raises(InvalidParameterError, match=sentence):
        call(model, fitted[0])


def test_interpolation_needs_rows_of_one_shape(model, fitted):
    with pytest.raises(InvalidDataError, match="two rows of one shape"):
        model.interpolate(fitted[0][0], fitted[0][:2])


def test_importance_weights_tighten_the_bound(model, fitted):
    X = fitted[0][:40]
    if not isinstance(model.model_, AbstractVariationalModel):
        with pytest.raises(NotSupportedError, match="no posterior"):
            model.score_samples(X, importance_samples=5)
        return
    few, many = (model.score_samples(X, importance_samples=s) for s in (1, 200))
    assert few.mean() < many.mean()
    assert model.score_samples(X).mean() <= many.mean() + 0.5
    np.testing.assert_allclose(model.score_samples(X[3:5], importance_samples=200), many[3:5], atol=1e-3)


def linear_model(name):
    """A model with a linear decoder and fixed noise, whose evidence is known in closed form: log p(x) and its parts."""
    torch.manual_seed(0)
    d, size, k = 2, 5, 3
    common = {
        "network": (torch.nn.Linear(size, d), torch.nn.Linear(d, size)),
        "likelihood": Gaussian(variance=0.3, learn=False),
    }
    estimator = {
        "vade": lambda: VaDE(k, **common),
        "cluster_vae": lambda: ClusterVAE(k, guide=None, **common),
        "gmvae-label": lambda: GMVAE(k, form=Marginal(), guide=None, **common),
        "gmvae-style": lambda: GMVAE(k, form=Style(style=2, hidden=4), guide=None, **common),
    }[name]()
    model = estimator._build(Spec((size,), 100, -3.0, 3.0)).eval()
    with torch.no_grad():
        if name == "vade":
            model.mixture.means.normal_()
            model.mixture.logits.normal_()
            model.mixture.log_vars.normal_(std=0.3)
        elif name == "cluster_vae":
            model.means.normal_()
        elif name == "gmvae-style":  # components that do not depend on the style
            model.prior_means.weight.zero_()
            model.prior_means.bias.normal_()
            model.prior_log_vars.weight.zero_()
            model.prior_log_vars.bias.normal_(std=0.3)
    decoder = model.network.autoencoder.decoder if hasattr(model, "network") else model.decoder
    means, deviations = (t.detach() for t in model.code_moments)
    return model, decoder, means, deviations, model.cluster_weights.detach()


@pytest.mark.parametrize("name", ["vade", "cluster_vae", "gmvae-label", "gmvae-style"])
def test_bounds_stay_below_the_exact_evidence_of_a_linear_gaussian_model(name):
    model, decoder, means, deviations, weights = linear_model(name)
    A, b = decoder.weight.detach().double(), decoder.bias.detach().double()
    x = torch.randn(30, 5)
    components = [
        torch.distributions.MultivariateNormal(
            A @ means[c].double() + b, A @ torch.diag(deviations[c].double() ** 2) @ A.T + 0.3 * torch.eye(5).double()
        ).log_prob(x.double())
        for c in range(3)
    ]
    exact = torch.logsumexp(torch.stack(components, 1) + weights.double().log(), 1).mean()
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        noise = torch.randn(4000, model.noise_size, generator=generator)
        levels = [
            torch.stack([model.log_evidence(x, part).double().mean() for part in noise.split(size)]).mean()
            for size in (1, 20, 400)
        ]
        bound = model.score(x).double().mean()
    assert bound < exact
    assert levels[0] < levels[1] < levels[2] < exact + 0.02
    assert exact - levels[2] < 0.35 * (exact - levels[0]), "more samples close the gap"


def test_decoding_models_without_a_posterior_still_reconstruct(fitted):
    assert isinstance(fitted[2]["two_stage"].model_, AbstractDecodingModel)
    assert fitted[2]["two_stage"].reconstruct(fitted[0]).shape == fitted[0].shape


def test_guide_holds_and_lets_go(blobs):
    X, _ = blobs
    held = ClusterVAE(3, network=MLP(hidden=(16,), latent=3), guide=Guide(hold=1.0), random_state=0)
    held.set_params(
        schedule__epochs=40, guide__pretrain__epochs=20, trainer=Trainer(precision="fp32", batch_size=16)
    ).fit(X)
    assert (held.labels_ == held.result_.start_labels).mean() > 0.95
    assert all(line["guide"] > 0 for line in held.result_.history if line["phase"] == "cluster")
    free = ClusterVAE(3, network=MLP(hidden=(16,), latent=3), guide=None, random_state=0)
    free.set_params(schedule__epochs=3, trainer__precision="fp32").fit(X)
    assert free.result_.start_labels is None
    assert {line["phase"] for line in free.result_.history} == {"cluster"}
