"""Golden numbers of DEC's and DEPICT's targets, in double precision, and the geometry of DEPICT's network."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from deepclust import DEPICT, Balance, Pathways, Strided
from deepclust.data.rows import Spec
from deepclust.errors import InvalidParameterError
from deepclust.objectives.balanced import balanced, balanced_objective
from deepclust.objectives.student import divergence_from_targets, log_student, sharpened

F64 = {"dtype": torch.float64}
GOLDEN = {"atol": 1e-6, "rtol": 0.0}
P = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.9, 0.1]], **F64)
U = torch.tensor([0.5, 0.5], **F64)
seeds = st.integers(0, 2**31 - 1)


def random_p(seed, n=40, k=4):
    return torch.softmax(2 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), **F64), 1)


@pytest.mark.parametrize(
    ("kind", "rows", "objective"),
    [
        ("paper", [[0.688154, 0.311846], [0.452809, 0.547191], [0.832358, 0.167642]], 0.084136),
        ("exact", [[0.681465, 0.318535], [0.445143, 0.554857], [0.827989, 0.172011]], 0.083953),
        ("code", [[0.829630, 0.170370], [0.406452, 0.593548], [0.961017, 0.038983]], 0.147295),
    ],
)
def test_depict_targets_have_the_golden_values(kind, rows, objective):
    q = balanced(P, U, kind)
    assert_close(q, torch.tensor(rows, **F64), **GOLDEN)
    assert_close(balanced_objective(q, P, U), torch.tensor(objective, **F64), **GOLDEN)
    assert_close(balanced_objective(P, P, U), torch.tensor(0.149874, **F64), **GOLDEN)
    if kind == "paper":
        assert_close(-(q * P.log()).sum(1).mean(), torch.tensor(0.620618, **F64), **GOLDEN)


@given(seeds)
def test_exact_target_is_the_minimiser_and_the_papers_lies_between(seed):
    p = random_p(seed)
    u = torch.full((4,), 0.25, **F64)
    exact, paper = balanced(p, u, "exact"), balanced(p, u, "paper")
    constant = (exact * exact.mean(0) / p).log()
    assert (constant.amax(1) - constant.amin(1)).max() < 1e-9
    values = [float(balanced_objective(q, p, u)) for q in (exact, paper, p)]
    assert values[0] <= values[1] + 1e-12 <= values[2] + 2e-12
    spread = [float(F.kl_div(u.log(), q.mean(0), reduction="sum")) for q in (exact, p)]
    assert spread[0] <= spread[1] + 1e-12, "cluster sizes are at least as even as those of p"


def test_targets_of_special_cases():
    even = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]], **F64)
    u = torch.full((3,), 1 / 3, **F64)
    assert_close(balanced(even, u, "paper"), even, atol=1e-15, rtol=0)
    assert_close(balanced(even, u, "code")[0], torch.tensor([0.907407, 0.074074, 0.018519], **F64), **GOLDEN)
    one = torch.tensor([[0.5, 0.3, 0.2]], **F64)
    root = torch.tensor([[0.415446, 0.321803, 0.262751]], **F64)
    for p in (one, one.expand(7, -1)):
        assert_close(balanced(p, u, "paper"), root.expand(len(p), -1), **GOLDEN)
    sure = F.one_hot(torch.tensor([0, 2, 1, 0]), 3).double()
    for kind in ("paper", "code", "exact"):
        assert_close(balanced(sure, u, kind), sure)


@given(seeds, st.sampled_from(["paper", "code", "exact"]))
def test_targets_follow_permutations_and_replication(seed, kind):
    p = random_p(seed)
    u = torch.tensor([0.1, 0.2, 0.3, 0.4], **F64)
    q = balanced(p, u, kind)
    assert_close(q.sum(1), torch.ones(40, **F64))
    order = torch.tensor([2, 0, 3, 1])
    assert_close(balanced(p[:, order], u[order], kind), q[:, order], atol=1e-9, rtol=0)
    assert_close(balanced(p.flip(0), u, kind), q.flip(0), atol=1e-9, rtol=0)
    assert_close(balanced(torch.cat([p, p]), u, kind), torch.cat([q, q]), atol=1e-9, rtol=0)


def test_prior_moves_sizes_towards_itself():
    p, u = random_p(0), torch.tensor([0.7, 0.1, 0.1, 0.1], **F64)
    for kind in ("paper", "exact"):
        uniform = balanced(p, torch.full((4,), 0.25, **F64), kind).mean(0)
        assert balanced(p, u, kind).mean(0)[0] > uniform[0] + 0.05
    with pytest.raises(InvalidParameterError, match="share for each of 3"):
        Balance(prior=(0.5, 0.5)).shares(3)


def test_papers_target_exerts_no_force_where_sizes_are_even():
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]], **F64).log().requires_grad_(True)
    u = torch.full((3,), 1 / 3, **F64)
    for kind, is_free in (("paper", True), ("code", False)):
        p = torch.softmax(logits, 1)
        q = balanced(p.detach(), u, kind)
        (gradient,) = torch.autograd.grad(-(q * torch.log_softmax(logits, 1)).sum(1).mean(), logits)
        assert_close(gradient, (p - q).detach() / 3)
        assert (gradient.abs().max() < 1e-12) == is_free


def test_dec_has_the_golden_values():
    z = torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 0.0]], requires_grad=True, **F64)
    centers = torch.tensor([[0.0, 0.0], [3.0, 0.0]], requires_grad=True, **F64)
    log_q = log_student(z, centers)
    q = torch.tensor([[0.909091, 0.090909], [0.090909, 0.909091], [0.714286, 0.285714]], **F64)
    assert_close(log_q.exp(), q, **GOLDEN)
    p = sharpened(log_q.exp().detach())
    expected = torch.tensor([[0.986842, 0.013158], [0.007444, 0.992556], [0.824176, 0.175824]], **F64)
    assert_close(p, expected, **GOLDEN)
    loss = divergence_from_targets(p, log_q)
    assert_close(loss.mean(), torch.tensor(0.0522284, **F64), **GOLDEN)
    assert_close(loss.mean(), F.kl_div(log_q, p, reduction="batchmean"))
    loss.sum().backward()
    assert_close(z.grad[:, 0], torch.tensor([0.046651, -0.050079, 0.197802], **F64), **GOLDEN)
    assert_close(centers.grad[:, 0], torch.tensor([-0.059811, -0.134563], **F64), **GOLDEN)


def test_sharpening_lowers_entropy_and_can_flip_a_row_where_sizes_differ():
    even = sharpened(torch.tensor([[0.7, 0.3], [0.3, 0.7]], **F64))
    assert_close(even, torch.tensor([[0.844828, 0.155172], [0.155172, 0.844828]], **F64), **GOLDEN)
    uneven = sharpened(torch.tensor([[0.55, 0.45], *[[0.99, 0.01]] * 3], **F64))
    assert_close(uneven[0], torch.tensor([0.1692, 0.8308], **F64), atol=5e-5, rtol=0)


@given(seeds)
def test_assignment_moves_with_codes_and_centres_and_permutes(seed):
    rng = torch.Generator().manual_seed(seed)
    z, centers = torch.randn(6, 3, generator=rng, **F64), torch.randn(4, 3, generator=rng, **F64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=rng, **F64))
    shift = torch.randn(3, generator=rng, **F64)
    log_q = log_student(z, centers)
    assert_close(log_student(z @ rotation + shift, centers @ rotation + shift), log_q)
    order = torch.tensor([3, 1, 0, 2])
    assert_close(log_student(z, centers[order]), log_q[:, order])
    assert_close(divergence_from_targets(log_q.exp(), log_q), torch.zeros(6, **F64), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("shape", "k", "sides", "flat", "parameters"),
    [
        ((1, 28, 28), 10, (13, 7), 2450, 178_211),
        ((1, 16, 16), 10, (7, 4), 800, 143_561),
        ((3, 32, 32), 20, (17, 9), 4050, 296_023),
        ((1, 32, 32), 68, (17, 9), 4050, 681_669),
        ((3, 55, 55), 41, (28, 13), 8450, 789_044),
    ],
)
def test_network_has_the_published_geometry(shape, k, sides, flat, parameters):
    network = Strided(latent=k).build(Spec(shape, 100))
    x = 2 * torch.rand(2, *shape) - 1
    h, found = x, []
    for encode, _ in network.stages[:-1]:
        h = encode(h)
        found.append(h.shape[-1])
    assert tuple(found) == sides
    assert network.width == flat
    assert sum(p.numel() for p in network.parameters()) == parameters
    x_hat = network.decode(network.embed(x))
    assert x_hat.shape == x.shape
    assert x_hat.abs().max() < 1


@given(st.integers(4, 70), st.integers(4, 70))
def test_network_inverts_every_size(height, width):
    network = Strided(filters=2, latent=3).build(Spec((1, height, width), 10))
    x = torch.zeros(1, 1, height, width)
    assert network.decode(network.embed(x)).shape == x.shape


def test_losses_are_the_means_they_say():
    torch.manual_seed(0)
    model = DEPICT(3, network=Strided(filters=4, latent=3))._build(Spec((1, 28, 28), 10))
    x = 2 * torch.rand(5, 1, 28, 28) - 1
    terms, code = model.reconstruction(x, Pathways(noise=0.0, hidden=0.1))
    stages = model.network.stages
    z1 = stages[0][0](x)
    z2 = stages[1][0](z1)
    assert_close(code, stages[2][0](z2))
    back2 = stages[2][1](code)
    back1 = stages[1][1](back2)
    back0 = stages[0][1](back1)
    assert_close(terms["input"], F.mse_loss(back0, x))
    assert_close(terms["hidden"], 0.1 * (F.mse_loss(back1, z1) + F.mse_loss(back2, z2)))
    assert_close(-terms["input"], model.score(x).mean())
    noisy = [model.reconstruction(x, Pathways(noise=0.3))[0]["input"].item() for _ in range(2)]
    assert noisy[0] != noisy[1]
    attached = {}
    for detach in (True, False):
        model.zero_grad()
        torch.manual_seed(1)
        model.reconstruction(x, Pathways(detach=detach))[0]["hidden"].backward()
        attached[detach] = stages[0][0][0].weight.grad.clone()
    assert (attached[True] != attached[False]).any()
