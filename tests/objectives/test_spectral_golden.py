"""Identities of the spectral methods: orthonormal layers, cuts, affinities, pairs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from deepclust.errors import InvalidDataError
from deepclust.networks.orthonormal import Orthonormal, OrthonormalLayer, orthonormal_weights, orthonormality_error
from deepclust.objectives.affinity import Affinity, batch_affinity, median_scale
from deepclust.objectives.spectral import contrastive_cost, edge_cost, grassmann, spectral_cost

KINDS = ("cholesky", "qr", "whitening")


def random_graph(m, seed=0):
    generator = torch.Generator().manual_seed(seed)
    w = torch.rand(m, m, generator=generator, dtype=torch.float64) ** 4
    return (w + w.T) / 2 * (1 - torch.eye(m, dtype=torch.float64))


# 8.1 The orthonormal layer.


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_orthonormal(kind):
    y = torch.randn(1024, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert orthonormality_error(y @ orthonormal_weights(y, Orthonormal(kind=kind))) < 1e-10


def test_cholesky_and_qr_agree_up_to_signs_and_mixing_turns_the_outputs():
    y = torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    a = y @ orthonormal_weights(y, Orthonormal(kind="cholesky"))
    b = y @ orthonormal_weights(y, Orthonormal(kind="qr"))
    assert_close(a.abs(), b.abs(), atol=1e-9, rtol=0)
    mixed = y @ torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    c = mixed @ orthonormal_weights(mixed, Orthonormal())
    turn = a.T @ c / len(y)
    assert_close(turn @ turn.T, torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)
    assert_close(a @ turn, c, atol=1e-8, rtol=0)


@pytest.mark.parametrize("kind", ["cholesky", "qr"])
def test_gradients_pass_through(kind):
    y = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: v @ orthonormal_weights(v, Orthonormal(kind=kind)), y)


def test_whitening_has_the_gradient_of_the_cut_though_its_turn_is_constant():
    w = random_graph(12)
    grads = []
    for kind in KINDS:
        y = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4), requires_grad=True)
        spectral_cost(y @ orthonormal_weights(y, Orthonormal(kind=kind)), w).backward()
        grads.append(y.grad)
    assert_close(grads[0], grads[1], atol=1e-10, rtol=0)
    assert_close(grads[0], grads[2], atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_bad_batches_stay_finite(kind):
    generator = torch.Generator().manual_seed(5)
    worst = 0.0
    for number in range(334):
        k = [2, 5, 10, 100][number % 4]
        m = [64, 256, 1024][number % 3]
        logits = 10.0 ** -(number % 7) * torch.randn(m, k, generator=generator)
        if number % 5 == 0:
            logits[:, 0] = -1e4  # an empty cluster
        if number % 6 == 0:
            logits = logits[:1].expand(m, k)  # duplicates
        y = torch.softmax(logits, dim=1).requires_grad_()
        outputs = y.double() @ orthonormal_weights(y, Orthonormal(kind=kind))
        (grad,) = torch.autograd.grad(outputs.square().sum() + outputs.sum(), y)
        assert torch.isfinite(outputs).all()
        assert torch.isfinite(grad).all()
        worst = max(worst, orthonormality_error(outputs))
    assert worst <= 1 + 1e-9  # a column that is not there stays short; none is longer than one


def test_layer_is_the_identity_at_first_and_keeps_its_weights_in_the_state():
    layer = OrthonormalLayer(3, Orthonormal())
    y = torch.randn(50, 3)
    assert_close(layer(y), y.double())
    layer.fitted(y)
    other = OrthonormalLayer(3, Orthonormal())
    other.load_state_dict(layer.state_dict())
    assert_close(other(y), layer(y))
    assert orthonormality_error(layer(y)) < 1e-10
    z = torch.randn(50, 3, requires_grad=True)
    assert not OrthonormalLayer(3, Orthonormal(detach=True)).fitted(z).requires_grad
    assert OrthonormalLayer(3, Orthonormal()).fitted(z).requires_grad


# 8.2, 8.3, 8.4 Cuts.


def test_cost_is_the_trace_of_the_laplacian_and_least_at_its_eigenvectors():
    w = random_graph(30)
    laplacian = torch.diag(w.sum(1)) - w
    values, vectors = torch.linalg.eigh(laplacian)
    y = math.sqrt(30) * vectors[:, :4]
    assert float(spectral_cost(y, w)) == pytest.approx(float(values[:4].sum()), abs=1e-10)
    assert float(spectral_cost(y, w)) == pytest.approx(float(torch.trace(y.T @ laplacian @ y)) / 30, abs=1e-10)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    assert float(spectral_cost(y @ turn, w)) == pytest.approx(float(spectral_cost(y, w)), abs=1e-10)
    for seed in range(20):
        raw = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        other = raw @ orthonormal_weights(raw, Orthonormal())
        assert spectral_cost(other, w) > spectral_cost(y, w)


def test_normalised_cost_is_that_of_the_symmetric_laplacian():
    w = random_graph(25)
    d = w.sum(1)
    symmetric = torch.eye(25, dtype=torch.float64) - w / (d.unsqueeze(1) * d).sqrt()
    values, vectors = torch.linalg.eigh(symmetric)
    y = 5 * vectors[:, :3]
    assert float(spectral_cost(y, w, normalized=True)) == pytest.approx(float(values[:3].sum()), abs=1e-10)
    by_degree = y / d.unsqueeze(1)
    assert float(spectral_cost(by_degree, w)) != pytest.approx(float(values[:3].sum()), abs=1e-3)


def test_large_batches_take_the_same_cost_by_products():
    w = random_graph(100)
    y = torch.randn(100, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    laplacian = torch.diag(w.sum(1)) - w
    assert float(spectral_cost(y, w)) == pytest.approx(float(torch.trace(y.T @ laplacian @ y)) / 100, rel=1e-10)


def test_separate_blocks_cost_nothing_and_clusters_cost_their_ratio_cut():
    sizes = [5, 8, 3]
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    one_hot = torch.nn.functional.one_hot(labels).double()
    y = one_hot @ orthonormal_weights(one_hot, Orthonormal())
    for c, size in enumerate(sizes):
        assert_close(y[labels == c, c], torch.full((size,), math.sqrt(16 / size), dtype=torch.float64))
    w = random_graph(16)
    blocks = w * (labels.unsqueeze(1) == labels)
    assert float(spectral_cost(y, blocks)) == pytest.approx(0, abs=1e-12)
    cut = sum(float(w[labels == c][:, labels != c].sum()) / size for c, size in enumerate(sizes))
    assert float(spectral_cost(y, w)) == pytest.approx(cut, rel=1e-10)  # 1/2m of the sum: half of 2 x RatioCut


def test_edges_drawn_by_weight_estimate_the_normalised_cut():
    w = random_graph(20)
    d = w.sum(1)
    values, vectors = torch.linalg.eigh(torch.eye(20, dtype=torch.float64) - w / (d.unsqueeze(1) * d).sqrt())
    y = vectors[:, :3] / d.sqrt().unsqueeze(1) * d.sum().sqrt()
    row, column = w.nonzero(as_tuple=True)
    share = w[row, column] / w.sum()
    expected = sum(
        float(s) * float(edge_cost(y[i : i + 1], y[j : j + 1])) for i, j, s in zip(row, column, share, strict=True)
    )
    assert expected == pytest.approx(float(values[:3].sum()), rel=1e-9)
    assert_close(y.T @ (y * (d / d.sum()).unsqueeze(1)), torch.eye(3, dtype=torch.float64), atol=1e-10, rtol=0)


def test_grassmann_distance_counts_the_directions_that_differ():
    q = torch.linalg.qr(torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    assert grassmann(q[:, :3], q[:, :3] @ torch.diag(torch.tensor([1.0, -2.0, 3.0]).double())) == pytest.approx(
        0, abs=1e-10
    )
    assert grassmann(q[:, :3], q[:, 2:5]) == pytest.approx(2, abs=1e-10)


# 8.5, 8.6 Affinities.


def test_affinity_of_three_points_on_a_line():
    z = torch.tensor([[0.0], [1.0], [3.0]])
    rule = Affinity(scope="batch", neighbors=2, counts_self=True, scale=1.0)
    w = batch_affinity(z, rule)
    expected = [[1, 0.60653, 0], [0.60653, 1, 0.06767], [0, 0.06767, 1]]
    assert_close(w, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)
    assert_close(batch_affinity(z, rule, loops=False).diagonal(), torch.zeros(3, dtype=torch.float64))
    single = batch_affinity(z, Affinity(scope="batch", neighbors=1, scale=1.0))
    assert_close(single, w)  # one neighbour besides the point itself


def test_scale_is_the_median_distance_to_a_neighbour_and_never_zero():
    line = torch.arange(9.0).unsqueeze(1)
    distances = torch.cdist(line, line)
    assert median_scale(distances, Affinity(counts_self=True, scale_neighbor=2)) == 1
    assert median_scale(distances, Affinity(counts_self=False, scale_neighbor=1)) == 1
    with pytest.raises(InvalidDataError, match="neighbour 1"):
        median_scale(distances, Affinity(counts_self=True, scale_neighbor=1))


def test_package_convention_scales_columns_and_has_no_factor_of_two():
    z = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rule = Affinity(scope="batch", neighbors=4, counts_self=True, scale="local", factor=1.0)
    distance = torch.cdist(z, z).numpy()
    order = distance.argsort(1)[:, :4]
    sigma = np.array([np.sort(distance[i, order[i]])[1] for i in range(12)])  # torch's median is the lower one
    kernel = np.zeros((12, 12))
    for i in range(12):
        kernel[i, order[i]] = np.exp(-(distance[i, order[i]] ** 2) / sigma[order[i]] ** 2)
    assert_close(batch_affinity(z, rule), torch.from_numpy((kernel + kernel.T) / 2), atol=1e-9, rtol=0)


def test_duplicates_are_at_distance_zero_and_gradients_are_finite():
    z = torch.zeros(6, 2).index_fill_(0, torch.tensor([3, 4, 5]), 1000.001).requires_grad_()
    w = batch_affinity(z, Affinity(scope="batch", neighbors=2, scale=1e-3))
    assert_close(w[0, 1] + w[0, 2] + w[1, 2] > 0, torch.tensor(True))
    w.sum().backward()
    assert torch.isfinite(z.grad).all()


# 8.11 Pairs.


@pytest.mark.parametrize(
    ("distance", "near", "slack", "cost"),
    [
        (0.0, True, 0.0, 0.0),
        (1.0, False, 0.0, 0.0),
        (1.7, False, 0.0, 0.0),
        (0.0, False, 0.0, 1.0),
        (0.05, True, 0.05, 0.0),
        (0.15, True, 0.05, 0.01),
        (0.5, True, 0.0, 0.25),
    ],
)
def test_pairs_cost_what_is_published(distance, near, slack, cost):
    found = contrastive_cost(torch.tensor([distance]), torch.tensor([near]), slack=slack)
    assert float(found) == pytest.approx(cost, abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6))
def test_every_convention_gives_a_symmetric_affinity_in_the_unit_interval(m, seed):
    z = torch.randn(m, 3, generator=torch.Generator().manual_seed(seed))
    for rule in (
        Affinity(scope="batch", neighbors=2),
        Affinity(scope="batch", neighbors=None, scale="local", factor=1.0),
    ):
        w = batch_affinity(z, rule, scale=0.7)
        assert_close(w, w.T)
        assert 0 <= float(w.min()) <= float(w.max()) <= 1
