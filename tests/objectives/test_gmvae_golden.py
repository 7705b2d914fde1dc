"""Identities of the Gaussian-mixture VAEs, in double precision where there is no network."""

import math

import pytest
import torch
from hypothesis import given
from tests.objectives.test_vade_golden import F64, random_case, seeds
from torch.nn import functional as F
from torch.testing import assert_close

from deepclust import GMVAE, MLP, Gumbel, Marginal, Schedule, Style
from deepclust.data.batch import Batch, Progress
from deepclust.data.rows import Spec
from deepclust.objectives.gaussian import kl_to_components, log_density, log_normal
from deepclust.objectives.one_step import class_cost
from deepclust.objectives.style import kl_to_row_components, log_row_components, minimum_information


def batch(n=5, d=6, epoch=0):
    x = torch.rand(n, d, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(n), Progress(epoch, 100, epoch, 100))


def build(form, k=3, d=6):
    torch.manual_seed(0)
    estimator = GMVAE(k, form=form, network=MLP(hidden=(8,), latent=2), guide=None)
    return estimator._build(Spec((d,), 10, 0.0, 1.0))


@given(seeds)
def test_row_components_equal_shared_ones_where_all_rows_have_the_same(seed):
    mean, log_var, _, means, log_vars, rng = random_case(seed)
    own_means, own_log_vars = (t.expand(6, *t.shape) for t in (means, log_vars))
    assert_close(
        kl_to_row_components(mean, log_var, own_means, own_log_vars), kl_to_components(mean, log_var, means, log_vars)
    )
    z = torch.randn(6, 3, generator=rng, **F64)
    assert_close(log_row_components(z, own_means, own_log_vars), log_normal(z, means, log_vars))
    assert_close(log_density(z, mean, log_var), log_normal(z, mean, log_var).diagonal())


def test_free_bits_exert_no_force_below_their_level():
    for value, force in ((0.3, 0.0), (0.7, 1.0)):
        cost = torch.tensor(value, requires_grad=True)
        minimum_information(cost, 0.5).backward()
        assert cost.grad == force
    assert minimum_information(torch.tensor(0.3), 0.5) == 0.5


@given(seeds)
def test_prior_term_and_consistency_add_up_to_log_k(seed):
    log_p = torch.log_softmax(torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), **F64), 1)
    entropy = -(log_p.exp() * log_p).sum(1)
    assert_close(class_cost(log_p) + entropy, torch.full((6,), math.log(4), **F64))


@pytest.mark.parametrize("version", [1, 2])
def test_equal_components_leave_classes_undecided(version):
    form = Style(version=version, style=3, hidden=7)
    model = build(form)
    with torch.no_grad():
        for layer in (model.prior_means, model.prior_log_vars):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([0.3, -0.2]).repeat(3))
    terms, _ = form.loss(model, batch(), 1.0)
    found = model.encode(batch().x)
    kl = kl_to_components(found.mean, found.log_var, torch.full((1, 2), 0.3), torch.tensor([[0.3, -0.2]]))
    shift = torch.tensor([[0.3, -0.2]])
    kl = kl_to_components(found.mean, found.log_var, shift, shift)
    assert_close(terms["code"], kl.mean())
    if version == 1:
        assert_close(terms["consistency"], torch.tensor(form.consistency * math.log(3)))
    else:
        assert_close(terms["cluster"], torch.tensor(form.free_bits))  # the prior term is 0, below the free bits


def test_one_class_makes_every_form_a_plain_vae():
    for form in (Marginal(), Gumbel(), Style(version=1), Style(version=2, free_bits=0.0)):
        terms, log_q = form.loss(build(form, k=1), batch(), 1.0)
        assert_close(log_q, torch.zeros(5, 1))
        assert_close(terms["cluster"], torch.tensor(0.0))


def test_marginal_form_equals_the_sum_over_classes_one_by_one():
    form, rows = Marginal(), batch()
    model = build(form)
    torch.manual_seed(1)
    terms, log_q = form.loss(model, rows, 1.0)
    torch.manual_seed(1)
    noise = torch.randn(15, 2).view(5, 3, 2)
    total = torch.zeros(())
    for c in range(3):
        y = F.one_hot(torch.full((5,), c), 3).float()
        mean, log_var = model.posterior(rows.x, y)
        z = mean + (0.5 * log_var).exp() * noise[:, c]
        cost = model.likelihood.nll(model.output(z), rows.x)
        cost = cost + log_density(z, mean, log_var) - log_density(z, *model.prior(y)) + math.log(3) + log_q[:, c]
        total = total + (log_q[:, c].exp() * cost).mean()
    assert_close(sum(terms.values()), total)


def test_hard_gumbel_classes_converge_to_the_marginal_form():
    form, rows = Gumbel(hard=True), batch()
    model = build(form)
    torch.manual_seed(0)
    with torch.no_grad():
        many = Batch(rows.x.repeat(4000, 1), torch.arange(20_000), rows.progress)
        hard = sum(form.loss(model, many, 1.0)[0].values())
        exact = torch.stack([sum(Marginal().loss(model, many, 1.0)[0].values()) for _ in range(3)]).mean()
    assert_close(hard, exact, rtol=0.01, atol=0.01)


def test_gumbel_choices_have_the_frequencies_of_the_softmax():
    torch.manual_seed(0)
    logits = torch.tensor([0.5, -0.3, 1.2])
    drawn = F.gumbel_softmax(logits.expand(100_000, 3), tau=0.5, hard=True).mean(0)
    assert_close(drawn, torch.softmax(logits, 0), atol=0.006, rtol=0)


def test_temperature_halves_and_then_rests():
    at = Gumbel().at
    assert at(0) == 1
    assert at(25) == pytest.approx(0.707107, abs=1e-6)
    assert [at(50), at(51), at(99)] == [0.5, 0.5, 0.5]


def test_networks_have_the_published_number_of_parameters():
    model = GMVAE.preset("gumbel")._build(Spec((784,), 100, 0.0, 1.0))
    assert sum(p.numel() for p in model.parameters()) == 2_104_602


@pytest.mark.parametrize("form", [Marginal(), Gumbel(), Style(version=1), Style()], ids=lambda f: type(f).__name__)
def test_permuting_classes_permutes_the_answer(form):
    model, x = build(form), batch().x
    order = torch.tensor([2, 0, 1])
    before, score = model.assign(x), model.score(x)
    with torch.no_grad():
        if isinstance(form, Style):
            for layer in (model.prior_means, model.prior_log_vars):
                layer.weight.copy_(layer.weight.view(3, 2, -1)[order].flatten(0, 1))
                layer.bias.copy_(layer.bias.view(3, 2)[order].flatten())
        else:
            for layer in (model.prior_mean, model.prior_spread):
                layer.weight.copy_(layer.weight[:, order])
            first = model.encoder.trunk[1]
            first.weight.copy_(torch.cat([first.weight[:, :6], first.weight[:, 6:][:, order]], 1))
        if getattr(model, "classifier", None) is not None:
            model.classifier.weight.copy_(model.classifier.weight[order])
            model.classifier.bias.copy_(model.classifier.bias[order])
    assert_close(model.assign(x), before[:, order])
    assert_close(model.score(x), score)


@pytest.mark.parametrize("preset", ["dilokthanakul-v1", "dilokthanakul-v2", "shu", "gumbel"])
def test_presets_fit(preset):
    X = torch.rand(60, 12, generator=torch.Generator().manual_seed(0)).numpy()
    model = GMVAE.preset(preset, random_state=0, n_clusters=3, network__hidden=(16,), network__latent=4)
    assert model.guide is None
    assert model.set_params(schedule=Schedule(epochs=2, batch_size=20)).fit(X).result_.start_labels is None
    assert model.sample(5, random_state=0).X.shape == (5, 12)
