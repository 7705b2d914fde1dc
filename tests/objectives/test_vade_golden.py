"""Golden numbers and identities of the VaDE bound, in double precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence
from torch.testing import assert_close

from deepclust.objectives.gaussian import kl_to_components, log_normal, reparameterise
from deepclust.objectives.mixture import assignment_cost, log_joint, log_posterior, m_step
from deepclust.objectives.reconstruction import bernoulli_nll, gaussian_nll

F64 = {"dtype": torch.float64}
MEAN = torch.tensor([[0.5, -1.0]], **F64)
LOG_VAR = torch.tensor([[-0.2, 0.3]], **F64)
LOG_WEIGHTS = torch.tensor([0.3, 0.7], **F64).log()
MEANS = torch.tensor([[0.0, 0.0], [1.0, -1.0]], **F64)
LOG_VARS = torch.tensor([[1.0, 0.5], [0.25, 2.0]], **F64).log()
Z = torch.tensor([[0.4, -0.7]], **F64)
GOLDEN = {"atol": 1e-6, "rtol": 0.0}  # the published digits


def kl():
    return kl_to_components(MEAN, LOG_VAR, MEANS, LOG_VARS)


def random_case(seed, b=6, k=4, d=3):
    rng = torch.Generator().manual_seed(seed)
    mean, log_var = torch.randn(b, d, generator=rng, **F64), torch.randn(b, d, generator=rng, **F64)
    log_weights = torch.log_softmax(torch.randn(k, generator=rng, **F64), 0)
    means, log_vars = torch.randn(k, d, generator=rng, **F64), 0.5 * torch.randn(k, d, generator=rng, **F64)
    return mean, log_var, log_weights, means, log_vars, rng


seeds = st.integers(0, 2**31 - 1)


def test_divergences_have_the_golden_values():
    assert_close(kl(), torch.tensor([[1.487651, 1.078353]], **F64), **GOLDEN)


def test_exact_assignment_has_the_golden_values():
    log_q = log_posterior(kl(), LOG_WEIGHTS)
    assert_close(log_q.exp(), torch.tensor([[0.221560, 0.778440]], **F64), **GOLDEN)
    code, cluster = assignment_cost(log_q, kl(), LOG_WEIGHTS)
    assert_close(code + cluster, torch.tensor([1.184564], **F64), **GOLDEN)
    assert_close(-torch.logsumexp(LOG_WEIGHTS - kl(), 1), torch.tensor([1.184564], **F64), **GOLDEN)


def test_joint_density_has_the_golden_values():
    joint = log_joint(Z, LOG_WEIGHTS, MEANS, LOG_VARS)
    assert_close(joint, torch.tensor([[-3.265276, -2.590478]], **F64), **GOLDEN)
    assert_close(torch.logsumexp(joint, 1), torch.tensor([-2.178859], **F64), **GOLDEN)


def test_sampled_assignment_has_the_golden_values():
    log_q = torch.log_softmax(log_joint(Z, LOG_WEIGHTS, MEANS, LOG_VARS), 1)
    assert_close(log_q.exp(), torch.tensor([[0.337423, 0.662577]], **F64), **GOLDEN)
    code, cluster = assignment_cost(log_q, kl(), LOG_WEIGHTS)
    assert_close(code + cluster, torch.tensor([1.219721], **F64), **GOLDEN)


def test_marginal_bound_has_the_golden_value():
    log_q_z = Independent(Normal(MEAN, (0.5 * LOG_VAR).exp()), 1).log_prob(Z)
    assert_close(log_q_z, torch.tensor([-1.927321], **F64), **GOLDEN)
    marginal = log_q_z - torch.logsumexp(log_joint(Z, LOG_WEIGHTS, MEANS, LOG_VARS), 1)
    assert_close(marginal, torch.tensor([0.251538], **F64), **GOLDEN)


def test_mixture_weight_enters_once_and_not_to_the_power_of_the_dimension():
    ours = torch.softmax(log_joint(Z, LOG_WEIGHTS, MEANS, LOG_VARS), 1)
    released = torch.softmax(2 * LOG_WEIGHTS + log_normal(Z, MEANS, LOG_VARS), 1)
    assert_close(released, torch.tensor([[0.179153, 0.820847]], **F64), **GOLDEN)
    assert (ours - released).abs().max() > 0.1


def test_no_constant_is_added_to_densities():
    """The released program adds 1e-10 to each: in 50 dimensions every responsibility is then 1/K."""
    rng = torch.Generator().manual_seed(0)
    means = torch.randn(5, 50, generator=rng, **F64)
    z = means + torch.randn(5, 50, generator=rng, **F64)
    joint = log_joint(z, torch.full((5,), 0.2, **F64).log(), means, torch.zeros(5, 50, **F64))
    floored = joint.exp() + 1e-10
    assert_close(floored / floored.sum(1, keepdim=True), torch.full((5, 5), 0.2, **F64), atol=1e-6, rtol=0)
    assert (torch.softmax(joint, 1).diagonal() > 0.99).all()


@given(seeds)
def test_divergence_equals_torch_and_vanishes_only_between_equals(seed):
    mean, log_var, _, means, log_vars, _ = random_case(seed)
    ours = kl_to_components(mean, log_var, means, log_vars)
    for b in range(len(mean)):
        for c in range(len(means)):
            p = Independent(Normal(mean[b], (0.5 * log_var[b]).exp()), 1)
            q = Independent(Normal(means[c], (0.5 * log_vars[c]).exp()), 1)
            assert_close(ours[b, c], kl_divergence(p, q))
    assert (ours > 0).all()
    assert_close(kl_to_components(mean, log_var, mean, log_var).diagonal(), torch.zeros(len(mean), **F64))


def test_divergence_equals_its_monte_carlo_estimate():
    noise = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0), **F64)
    z = reparameterise(MEAN.expand(100_000, 2), LOG_VAR.expand(100_000, 2), noise)
    draws = log_normal(z, MEAN, LOG_VAR) - log_normal(z, MEANS, LOG_VARS)
    error = 3 * draws.std(0) / math.sqrt(len(draws))  # three standard errors
    assert ((draws.mean(0) - kl()[0]).abs() < error).all()


@given(seeds)
def test_paper_form_equals_divergence_form_for_any_assignment(seed):
    mean, log_var, log_weights, means, log_vars, rng = random_case(seed)
    log_q = torch.log_softmax(torch.randn(6, 4, generator=rng, **F64), 1)
    q = log_q.exp()
    code, cluster = assignment_cost(log_q, kl_to_components(mean, log_var, means, log_vars), log_weights)
    squares = (log_var.exp()[:, None] + (mean[:, None] - means) ** 2) / log_vars.exp()
    paper = 0.5 * (q * (log_vars + squares).sum(-1)).sum(1)
    paper = paper - (q * (log_weights - log_q)).sum(1) - 0.5 * (1 + log_var).sum(1)
    assert_close(code + cluster, paper)
    # The released program differs from minus the bound by a constant: J^2/2 log 2 pi (J enters twice there).
    j = mean.shape[1]
    released = paper + 0.5 * j * j * math.log(2 * math.pi)
    assert_close(released - (code + cluster), torch.full((6,), 0.5 * j**2 * math.log(2 * math.pi), **F64))


@given(seeds)
def test_both_decompositions_of_the_bound_agree_sample_by_sample(seed):
    _, _, log_weights, means, log_vars, rng = random_case(seed)
    z = torch.randn(6, 3, generator=rng, **F64)
    log_q = torch.log_softmax(torch.randn(6, 4, generator=rng, **F64), 1)
    joint = log_joint(z, log_weights, means, log_vars)
    left = (log_q.exp() * (joint - log_q)).sum(1)
    evidence = torch.logsumexp(joint, 1)
    right = evidence - (log_q.exp() * (log_q - (joint - evidence[:, None]))).sum(1)
    assert_close(left, right)


def quadrature(points=60):
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    weights = weights / weights.sum()
    grid = torch.tensor(np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2))
    return grid, torch.tensor(np.outer(weights, weights).ravel())


def test_bounds_are_ordered_as_the_theory_says():
    noise, weight = quadrature()
    z = reparameterise(MEAN.expand(len(noise), 2), LOG_VAR.expand(len(noise), 2), noise)
    joint = log_joint(z, LOG_WEIGHTS, MEANS, LOG_VARS)
    gamma = torch.log_softmax(joint, 1)

    def latent_bound(log_q):
        code, cluster = assignment_cost(log_q, kl().expand(len(log_q), 2), LOG_WEIGHTS)
        return -(code + cluster)

    sampled = (weight * latent_bound(gamma)).sum()
    arithmetic = latent_bound((weight[:, None] * gamma.exp()).sum(0, keepdim=True).log())[0]
    best = torch.logsumexp(LOG_WEIGHTS - kl(), 1)[0]
    log_q_z = log_normal(z, MEAN, LOG_VAR)[:, 0]
    marginal = (weight * (torch.logsumexp(joint, 1) - log_q_z)).sum()
    assert sampled < arithmetic < best < marginal < 0  # zero is the evidence of a code without a row
    fixed = torch.tensor([[0.4, 0.6]], **F64).log()
    gap = (weight * (fixed.exp() * (fixed - gamma)).sum(1)).sum()
    assert_close(marginal - latent_bound(fixed)[0], gap)


@given(seeds)
def test_gradient_through_the_exact_assignment_vanishes(seed):
    case = random_case(seed)
    leaves = [value.requires_grad_() for value in case[:5]]
    mean, log_var, logits, means, log_vars = leaves
    log_weights = torch.log_softmax(logits, 0)
    distance = kl_to_components(mean, log_var, means, log_vars)
    through = torch.autograd.grad(torch.logsumexp(log_weights - distance, 1).sum(), leaves, retain_graph=True)
    code, cluster = assignment_cost(log_posterior(distance, log_weights).detach(), distance, log_weights)
    detached = torch.autograd.grad(-(code + cluster).sum(), leaves, retain_graph=True)
    for a, b in zip(through, detached, strict=True):
        assert_close(a, b)
    q = log_posterior(distance, log_weights).exp()
    assert_close(through[2], (q - torch.softmax(logits, 0)).sum(0))


@given(seeds)
def test_closed_form_mixture_step_never_lowers_the_bound(seed):
    mean, log_var, log_weights, means, log_vars, _ = random_case(seed, b=40)
    last = -math.inf
    for _ in range(5):
        distance = kl_to_components(mean, log_var, means, log_vars)
        bound = float(torch.logsumexp(log_weights - distance, 1).sum())
        assert bound >= last - 1e-9
        last = bound
        weights, means, variances = m_step(log_posterior(distance, log_weights).exp(), mean, log_var)
        log_weights, log_vars = weights.log(), variances.log()


def test_mixture_step_is_em_of_a_plain_mixture_when_posteriors_shrink_to_points():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=rng, **F64)
    q = torch.softmax(torch.randn(200, 4, generator=rng, **F64), 1)
    weights, means, variances = m_step(q, x, torch.full_like(x, -60.0))
    sizes = q.sum(0)
    assert_close(weights, sizes / 200)
    for c in range(4):
        centre = sum(q[i, c] * x[i] for i in range(200)) / sizes[c]
        spread = sum(q[i, c] * (x[i] - centre) ** 2 for i in range(200)) / sizes[c]
        assert_close(means[c], centre)
        assert_close(variances[c], spread)


@given(seeds)
def test_permuting_components_permutes_assignments_and_keeps_costs(seed):
    mean, log_var, log_weights, means, log_vars, rng = random_case(seed)
    order = torch.randperm(4, generator=rng)
    distance = kl_to_components(mean, log_var, means, log_vars)
    moved = kl_to_components(mean, log_var, means[order], log_vars[order])
    q, q_moved = log_posterior(distance, log_weights), log_posterior(moved, log_weights[order])
    assert_close(q[:, order], q_moved)
    assert_close(
        sum(assignment_cost(q, distance, log_weights)), sum(assignment_cost(q_moved, moved, log_weights[order]))
    )


@given(seeds, st.floats(0.05, 0.95))
def test_splitting_a_component_in_two_copies_changes_nothing(seed, t):
    mean, log_var, log_weights, means, log_vars, rng = random_case(seed)
    z = torch.randn(6, 3, generator=rng, **F64)
    first, rest = log_weights[:1], log_weights[1:]
    split_weights = torch.cat([first + math.log(t), first + math.log(1 - t), rest])
    split_means, split_vars = torch.cat([means[:1], means]), torch.cat([log_vars[:1], log_vars])
    whole, split = log_joint(z, log_weights, means, log_vars), log_joint(z, split_weights, split_means, split_vars)
    assert_close(torch.logsumexp(whole, 1), torch.logsumexp(split, 1))
    distance = kl_to_components(mean, log_var, means, log_vars)
    twice = kl_to_components(mean, log_var, split_means, split_vars)
    for log_q, log_r in (
        (log_posterior(distance, log_weights), log_posterior(twice, split_weights)),
        (torch.log_softmax(whole, 1), torch.log_softmax(split, 1)),
    ):
        assert_close(
            sum(assignment_cost(log_q, distance, log_weights)), sum(assignment_cost(log_r, twice, split_weights))
        )


@given(seeds)
def test_latent_part_does_not_depend_on_scale_and_origin_of_codes(seed):
    mean, log_var, log_weights, means, log_vars, rng = random_case(seed)
    stretch, shift = torch.rand(3, generator=rng, **F64) + 0.5, torch.randn(3, generator=rng, **F64)
    moved = kl_to_components(
        mean * stretch + shift,
        log_var + 2 * stretch.log(),
        means * stretch + shift,
        log_vars + 2 * stretch.log(),
    )
    assert_close(moved, kl_to_components(mean, log_var, means, log_vars))
    assert_close(
        log_posterior(moved, log_weights), log_posterior(kl_to_components(mean, log_var, means, log_vars), log_weights)
    )


def test_identical_components_give_the_weights_and_no_gradient_to_them():
    logits = torch.tensor([0.2, -0.3, 0.1], requires_grad=True, **F64)
    log_weights = torch.log_softmax(logits, 0)
    means, log_vars = torch.zeros(3, 2, **F64), torch.zeros(3, 2, **F64)
    distance = kl_to_components(MEAN, LOG_VAR, means, log_vars)
    assert_close(log_posterior(distance, log_weights).exp()[0], log_weights.exp())
    (gradient,) = torch.autograd.grad(torch.logsumexp(log_weights - distance, 1).sum(), [logits])
    assert_close(gradient, torch.zeros(3, **F64))


def test_one_component_is_the_plain_variational_auto_encoder():
    zero = torch.zeros(1, 2, **F64)
    distance = kl_to_components(MEAN, LOG_VAR, zero, zero)
    code, cluster = assignment_cost(log_posterior(distance, torch.zeros(1, **F64)), distance, torch.zeros(1, **F64))
    expected = 0.5 * (MEAN**2 + LOG_VAR.exp() - LOG_VAR - 1).sum(1)
    assert_close(code + cluster, expected)
    assert_close(cluster, torch.zeros(1, **F64))


@pytest.mark.parametrize("log_variance", [-10.0, 10.0])
def test_costs_stay_finite_for_far_codes_in_single_precision(log_variance):
    mean = torch.tensor([[1e4, -1e4], [0.0, 0.0]])
    log_var, means, log_vars = torch.full((2, 2), log_variance), torch.eye(2), torch.full((2, 2), -log_variance / 2)
    log_weights = torch.tensor([0.5, 0.5]).log()
    distance = kl_to_components(mean, log_var, means, log_vars)
    for log_q in (
        log_posterior(distance, log_weights),
        torch.log_softmax(log_joint(mean, log_weights, means, log_vars), 1),
    ):
        assert all(torch.isfinite(term).all() for term in assignment_cost(log_q, distance, log_weights))
    naive = torch.exp(log_normal(mean, means, torch.zeros(2, 2)))
    assert torch.isnan(naive[0] / naive[0].sum()).all(), "the naive form must fail where ours does not"


@pytest.mark.parametrize("d", [50, 256])
def test_assignments_stay_decisive_in_many_dimensions(d):
    means = torch.stack([torch.zeros(d), torch.full((d,), 1.0)])
    joint = log_joint(torch.zeros(1, d), torch.tensor([0.5, 0.5]).log(), means, torch.zeros(2, d))
    assert torch.softmax(joint, 1)[0, 0] > 0.999
    density = torch.exp(joint) + 1e-10  # the released program's floor
    assert_close(density / density.sum(), torch.full((1, 2), 0.5), atol=1e-3, rtol=0)


@given(seeds)
def test_divergence_from_uniform_is_at_most_log_k(seed):
    log_q = torch.log_softmax(5 * torch.randn(8, 4, generator=torch.Generator().manual_seed(seed), **F64), 1)
    _, cost = assignment_cost(log_q, torch.zeros(8, 4, **F64), torch.full((4,), -math.log(4), **F64))
    assert (cost >= -1e-12).all()
    assert (cost <= math.log(4) + 1e-12).all()


def test_bernoulli_likelihood_is_the_sum_of_its_formula():
    logits, x = torch.tensor([[0.3, -2.0]], **F64), torch.tensor([[1.0, 0.25]], **F64)
    m = 1 / (1 + np.exp(-logits.numpy()))
    expected = -(x.numpy() * np.log(m) + (1 - x.numpy()) * np.log(1 - m)).sum()
    assert_close(bernoulli_nll(logits, x), torch.tensor([expected], **F64))


def test_gaussian_likelihood_is_torchs():
    mean, x, log_var = (
        torch.tensor([[0.3, -2.0]], **F64),
        torch.tensor([[1.0, 0.25]], **F64),
        torch.tensor([0.4, -1.0], **F64),
    )
    expected = -Independent(Normal(mean, (0.5 * log_var).exp()), 1).log_prob(x)
    assert_close(gaussian_nll(mean, x, log_var), expected)
    alpha = torch.tensor(5.0, **F64)  # the released program's weight on the squared error is a variance of 1 / 2 alpha
    fixed = gaussian_nll(mean, x, -(2 * alpha).log()) - 2 * 0.5 * (math.log(2 * math.pi) - (2 * alpha).log())
    assert_close(fixed, alpha * ((x - mean) ** 2).sum(1))


def test_evidence_of_a_linear_gaussian_model_is_above_every_bound():
    rng = torch.Generator().manual_seed(1)
    a, b, s2 = torch.randn(4, 2, generator=rng, **F64), torch.randn(4, generator=rng, **F64), 0.3
    x = torch.randn(4, generator=rng, **F64)
    covariances = [a @ torch.diag(v.exp()) @ a.T + s2 * torch.eye(4, **F64) for v in LOG_VARS]
    densities = [
        torch.distributions.MultivariateNormal(a @ m + b, c).log_prob(x)
        for m, c in zip(MEANS, covariances, strict=True)
    ]
    evidence = torch.logsumexp(LOG_WEIGHTS + torch.stack(densities), 0)
    noise, weight = quadrature()
    z = reparameterise(MEAN.expand(len(noise), 2), LOG_VAR.expand(len(noise), 2), noise)
    nll = gaussian_nll(z @ a.T + b, x.expand(len(z), 4), torch.tensor(math.log(s2), **F64))
    best = torch.logsumexp(LOG_WEIGHTS - kl(), 1)[0] - (weight * nll).sum()
    log_q_z = log_normal(z, MEAN, LOG_VAR)[:, 0]
    marginal = (weight * (torch.logsumexp(log_joint(z, LOG_WEIGHTS, MEANS, LOG_VARS), 1) - log_q_z - nll)).sum()
    assert best < marginal < evidence
    importance = torch.logsumexp(
        weight.log() + torch.logsumexp(log_joint(z, LOG_WEIGHTS, MEANS, LOG_VARS), 1) - nll - log_q_z, 0
    )
    assert_close(importance, evidence, atol=1e-3, rtol=0)  # quadrature of a ratio that is not a polynomial
