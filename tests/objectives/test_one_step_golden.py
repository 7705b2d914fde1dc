"""Golden numbers and identities of one-step VAE clustering, in double precision."""

import math

import torch
from hypothesis import given
from tests.objectives.test_vade_golden import F64, GOLDEN, LOG_VAR, MEANS, Z, random_case, seeds
from torch.testing import assert_close

from deepclust import ClusterVAE, DoubleConv
from deepclust.data.rows import Spec
from deepclust.objectives.gaussian import kl_to_components, log_density, reparameterise
from deepclust.objectives.mixture import log_joint
from deepclust.objectives.one_step import class_cost, sampled_code_cost

LOG_P = torch.tensor([[0.2, 0.8]], **F64).log()


def test_terms_have_the_golden_values():
    assert_close(sampled_code_cost(Z, LOG_VAR, LOG_P, MEANS), torch.tensor([0.195], **F64), **GOLDEN)
    assert_close(class_cost(LOG_P) - math.log(2), torch.tensor([-0.500402], **F64), **GOLDEN)


@given(seeds)
def test_class_cost_lies_between_zero_and_log_k(seed):
    log_p = torch.log_softmax(torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), **F64) * 5, 1)
    cost = class_cost(log_p)
    assert (cost >= -1e-12).all()
    assert (cost <= math.log(5) + 1e-12).all()


def test_code_loss_is_eq_4_plus_the_known_constant():
    """E[code + class] = eq. 4's second term + KL(p(y|z)||U) + J/2 - log K, the last inside the class cost here."""
    mean, log_var, _, means, _, rng = random_case(3, b=1, d=4)
    n = 200_000
    z = reparameterise(mean.expand(n, -1), log_var.expand(n, -1), torch.randn(n, 4, generator=rng, **F64))
    log_p = torch.log_softmax(z @ torch.randn(4, 4, generator=rng, **F64), 1)
    ours = sampled_code_cost(z, log_var.expand(n, -1), log_p, means)
    own = log_density(z, mean.expand(n, -1), log_var.expand(n, -1))
    classes = torch.stack([log_density(z, m.expand(n, -1), torch.zeros(n, 4, **F64)) for m in means], 1)
    eq_4 = (log_p.exp() * (own[:, None] - classes)).sum(1)
    difference = ours - eq_4
    error = 4 * difference.std() / math.sqrt(n)
    assert abs(float(difference.mean()) - 4 / 2) < error
    assert abs(20 / 2 - math.log(10) - 7.697415) < 1e-6  # the published network's constant


@given(seeds)
def test_bayes_classifier_makes_it_vade_with_unit_variances_sample_by_sample(seed):
    mean, log_var, _, means, _, rng = random_case(seed)
    noise = torch.randn(6, 3, generator=rng, **F64)
    z = reparameterise(mean, log_var, noise)
    k = len(means)
    uniform, unit = torch.full((k,), -math.log(k), **F64), torch.zeros_like(means)
    log_p = torch.log_softmax(-0.5 * (z[:, None] - means).square().sum(-1), 1)
    ours = sampled_code_cost(z, log_var, log_p, means) + class_cost(log_p)
    marginal = log_density(z, mean, log_var) - torch.logsumexp(log_joint(z, uniform, means, unit), 1)
    assert_close(ours, marginal + 0.5 * noise.square().sum(1))


@given(seeds)
def test_gradient_of_the_class_means_is_what_it_should_be(seed):
    mean, log_var, _, means, _, rng = random_case(seed)
    means.requires_grad_(True)
    log_p = torch.log_softmax(torch.randn(6, 4, generator=rng, **F64), 1)
    sampled_code_cost(mean, log_var, log_p, means).mean().backward()
    expected = -(log_p.exp().T[:, :, None] * (mean[None] - means.detach()[:, None])).mean(1)
    assert_close(means.grad, expected)


@given(seeds)
def test_a_duplicate_class_with_split_probabilities_changes_the_class_cost_alone(seed):
    mean, log_var, _, means, _, rng = random_case(seed)
    log_p = torch.log_softmax(torch.randn(6, 4, generator=rng, **F64), 1)
    split = torch.cat([log_p[:, :1] + math.log(0.3), log_p[:, :1] + math.log(0.7), log_p[:, 1:]], 1)
    doubled = torch.cat([means[:1], means])
    assert_close(sampled_code_cost(mean, log_var, log_p, means), sampled_code_cost(mean, log_var, split, doubled))
    entropy = 0.3 * math.log(0.3) + 0.7 * math.log(0.7)
    change = class_cost(split) - math.log(5) - (class_cost(log_p) - math.log(4))
    assert_close(change, log_p[:, 0].exp() * entropy)


@given(seeds)
def test_permuting_classes_changes_nothing(seed):
    mean, log_var, _, means, _, rng = random_case(seed)
    log_p = torch.log_softmax(torch.randn(6, 4, generator=rng, **F64), 1)
    order = torch.randperm(4, generator=rng)
    assert_close(
        sampled_code_cost(mean, log_var, log_p, means),
        sampled_code_cost(mean, log_var, log_p[:, order], means[order]),
    )


def test_variance_would_grow_without_the_sample():
    mean, log_var = torch.zeros(1, 2, **F64), torch.zeros(1, 2, requires_grad=True, **F64)
    sampled_code_cost(mean, log_var, LOG_P, MEANS).sum().backward()
    assert (log_var.grad < 0).all(), "with the mean in place of a sample the cost falls for ever as the variance grows"
    log_var.grad = None
    z = reparameterise(mean, log_var, torch.ones(1, 2, **F64))
    sampled_code_cost(z, log_var, LOG_P, torch.zeros_like(MEANS)).sum().backward()
    assert_close(log_var.grad, torch.zeros(1, 2, **F64))


def test_network_has_the_published_number_of_parameters():
    model = ClusterVAE.preset("article")._build(Spec((1, 28, 28), 100, 0, 255, integer=True))
    count = sum(p.numel() for p in model.parameters())
    assert count == 366_331
    encoder = model.network.autoencoder.encoder
    heads = (model.network.autoencoder.head, model.network.log_var)
    assert sum(p.numel() for m in (encoder, *heads) for p in m.parameters()) == 190_472
    assert sum(p.numel() for p in model.network.autoencoder.decoder.parameters()) == 167_713
    assert sum(p.numel() for p in model.classifier.parameters()) == 7_946
    assert (model.means == 0).all()


def test_double_conv_restores_odd_and_even_sides():
    for shape in ((1, 28, 28), (3, 13, 9), (1, 8, 8), (2, 5, 7)):
        network = DoubleConv(channels=(4, 6), latent=3).build(Spec(shape, 10))
        x = torch.rand(2, *shape)
        assert network.decode(network.embed(x)).shape == x.shape


def test_divergence_form_is_an_upper_bound_of_the_kl_to_the_mixture():
    mean, log_var, _, means, _, rng = random_case(1)
    kl = kl_to_components(mean, log_var, means, torch.zeros_like(means))
    log_p = torch.log_softmax(torch.randn(6, 4, generator=rng, **F64), 1)
    best = -torch.logsumexp(-math.log(4) - kl, 1)
    assert ((log_p.exp() * kl).sum(1) + class_cost(log_p) >= best - 1e-12).all()
