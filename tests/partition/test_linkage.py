"""Graph degree linkage against a slow reference written from the equations."""

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.datasets import make_blobs, make_moons

from deepclust.graph import global_affinity, local_affinity, nearest_neighbors, transition_matrix
from deepclust.metrics import accuracy
from deepclust.partition.linkage import (
    DegreeLinkage,
    _first_clusters,
    graph_degree_linkage,
)
from deepclust.partition.path_integral import PathIntegralLinkage

# The toy graph of the specification: five nodes, clusters a = {0, 1}, b = {2}, c = {3, 4}.
TOY = {
    (0, 1): 0.9, (1, 0): 0.8, (0, 2): 0.5, (2, 0): 0.4, (1, 2): 0.3, (2, 1): 0.2,
    (2, 3): 0.2, (3, 2): 0.1, (3, 4): 0.7, (4, 3): 0.6, (1, 3): 0.1, (3, 1): 0.2,
}  # fmt: skip


def toy():
    W = np.zeros((5, 5))
    for (i, j), w in TOY.items():
        W[i, j] = w
    return W, DegreeLinkage(_padded(W), np.zeros((5, 1)))


def _padded(W):
    """The same graph with rows of equal length, nearest first, as a neighbour graph has them."""
    count = (W > 0).sum(1).max()
    index = np.argsort(-W, axis=1, kind="stable")[:, :count]
    data = np.take_along_axis(W, index, axis=1)
    return scipy.sparse.csr_array((data.ravel(), index.ravel(), np.arange(0, 5 * count + 1, count)), shape=(5, 5))


def reference_affinity(W, a, b):
    ab, ba = W[np.ix_(a, b)], W[np.ix_(b, a)]
    return (ab @ ba).sum() / len(a) ** 2 + (ba @ ab).sum() / len(b) ** 2


def test_toy_graph_has_the_golden_affinities():
    W, _ = toy()
    a, b, c = [0, 1], [2], [3, 4]
    assert reference_affinity(W, a, b) == pytest.approx(0.38)
    assert reference_affinity(W, a, c) == pytest.approx(0.01)
    assert reference_affinity(W, b, c) == pytest.approx(0.025)
    assert reference_affinity(W, [2, 3, 4], a) == pytest.approx(0.165)


def test_linkage_keeps_exact_affinities_while_it_merges():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3))
    affinity = local_affinity(points, 8)
    W = affinity.toarray()
    linkage = DegreeLinkage(affinity, points)
    while len(linkage.members) > 2:
        pairs = {
            (a, b): reference_affinity(W, linkage.members[a], linkage.members[b])
            for a in linkage.members
            for b in linkage.members
            if a < b
        }
        for (a, b), expected in pairs.items():
            assert linkage.affinity(a, b) == pytest.approx(expected, abs=1e-12)
        best, before = max(pairs.values()), set(linkage.members)
        linkage.merge_best()
        gone = tuple(sorted(before - set(linkage.members)))
        if best > 0:
            assert pairs[gone] == pytest.approx(best)


def test_toy_graph_merges_a_and_b_first():
    _, linkage = toy()
    homes = linkage.home
    assert homes[0] == homes[1] == homes[2]
    assert homes[3] == homes[4]


def test_first_clusters_join_every_row_to_its_nearest():
    points = np.array([[0.0], [0.1], [5.0], [5.1], [5.3]])
    homes = _first_clusters(local_affinity(points, 2))
    assert homes[0] == homes[1]
    assert homes[2] == homes[3] == homes[4]
    assert homes[0] != homes[2]


def test_affinity_is_the_formula():
    points = np.random.default_rng(0).normal(size=(12, 2))
    W = local_affinity(points, 4).toarray()
    distances, index = nearest_neighbors(points, 4)
    for i in range(12):
        assert i not in index[i]
        for d, j in zip(distances[i], index[i], strict=True):
            assert d == pytest.approx(np.linalg.norm(points[i] - points[j]))
            sigma = distances[i, 1]
            assert W[i, j] == pytest.approx(np.exp(-(d**2) / (2 * sigma**2)) / sigma)
    assert (np.count_nonzero(W, axis=1) == 4).all()


def test_finds_what_k_means_cannot():
    X, y = make_moons(1000, noise=0.05, random_state=0)
    assert accuracy(y, graph_degree_linkage(torch.tensor(X), 2).numpy()) > 0.99


def test_a_handful_of_outliers_does_not_take_the_place_of_a_cluster():
    X, y = make_blobs(600, centers=[[0, 0], [4, 0], [0, 4]], cluster_std=0.7, random_state=0)
    far = np.array([[50.0, 50.0], [50.1, 50.0], [50.0, 50.1]])
    labels = graph_degree_linkage(torch.tensor(np.vstack([X, far])), 3).numpy()
    assert accuracy(y, labels[:600]) > 0.97
    published = graph_degree_linkage(torch.tensor(np.vstack([X, far])), 3, outlier_share=0.0).numpy()
    assert len(set(published[600:])) == 1
    assert published[600] not in published[:600]


@pytest.mark.parametrize("n", [4, 7, 30])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_gives_k_clusters_of_few_rows_and_of_duplicates(n, k):
    X = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    labels = graph_degree_linkage(X, k)
    assert labels.shape == (n,)
    assert sorted(set(labels.tolist())) == list(range(k))
    twice = graph_degree_linkage(torch.cat([X, X]), k)
    assert len(set(twice.tolist())) == k


def reference_structure(P, own, rows, z):
    inside = P[np.ix_(rows, rows)]
    one = np.isin(rows, own).astype(float)
    return one @ np.linalg.inv(np.eye(len(rows)) - z * inside) @ one / len(own) ** 2


def reference_path_integral(P, a, b, z):
    union = [*a, *b]
    return sum(reference_structure(P, own, union, z) - reference_structure(P, own, own, z) for own in (a, b))


def test_path_integrals_have_the_golden_values():
    W, _ = toy()
    P = W + np.eye(5)
    P = P / P.sum(1, keepdims=True)
    a, b, c = [0, 1], [2], [3, 4]
    for own, expected in ((a, 0.50405730), (b, 1.00558659), (c, 0.50466837)):
        assert reference_structure(P, own, own, 0.01) == pytest.approx(expected, abs=1e-8)
    for pair, expected in (((a, b), 9.195845), ((a, c), 0.232267), ((b, c), 0.706718)):
        assert 1e6 * reference_path_integral(P, *pair, 0.01) == pytest.approx(expected, abs=1e-5)
        limit = reference_path_integral(P, *pair, 1e-4) / 1e-8
        assert limit == pytest.approx(reference_affinity(P, *pair), rel=1e-2)


def test_path_integral_linkage_keeps_exact_affinities_while_it_merges():
    points = np.random.default_rng(0).normal(size=(50, 3))
    graph = global_affinity(points, 8)
    P = graph.toarray() + np.eye(50)
    P = P / P.sum(1, keepdims=True)
    linkage = PathIntegralLinkage(graph, points)
    while len(linkage.members) > 2:
        pairs = {
            (a, b): reference_path_integral(P, linkage.members[a], linkage.members[b], 0.01)
            for a in linkage.members
            for b in linkage.members
            if a < b
        }
        for (a, b), expected in pairs.items():
            assert linkage.affinity(a, b) == pytest.approx(expected, abs=1e-13)
            assert linkage.ceiling(a, b) >= expected - 1e-15
            assert linkage.ceiling(a, b) <= 1.2 * expected + 1e-6, "a ceiling far above would save nothing"
        best, before = max(pairs.values()), set(linkage.members)
        linkage.merge_best()
        gone = tuple(sorted(before - set(linkage.members)))
        if best > 1e-12:
            assert pairs[gone] == pytest.approx(best)


def test_tree_tells_every_merge():
    points = np.random.default_rng(0).normal(size=(40, 2))
    linkage = DegreeLinkage(local_affinity(points, 6), points)
    m = len(linkage.members)
    while len(linkage.members) > 1:
        linkage.merge_best()
    tree = linkage.tree()
    assert tree.children.shape == (m - 1, 2)
    assert sorted(tree.children.ravel().tolist()) == list(range(2 * m - 2))
    assert sorted(set(tree.first.tolist())) == list(range(m))
    assert (tree.affinities >= 0).all()


def test_one_scale_makes_every_nearest_neighbour_count():
    points = np.concatenate([np.random.default_rng(0).normal(size=(30, 2)), [[100.0, 100.0]]])
    graph = global_affinity(points, 5)
    assert graph.toarray().max(axis=1).min() >= 1e-5
    np.testing.assert_allclose(transition_matrix(graph).sum(axis=1), 1)


@pytest.mark.parametrize("kind", [DegreeLinkage, PathIntegralLinkage])
def test_pairs_that_are_gone_are_swept_out_and_change_nothing(kind, monkeypatch):
    z, _ = make_blobs(300, 5, centers=6, random_state=0)
    trees, most = [], []
    for room in (lambda heap: 10**9, lambda heap: 0):
        monkeypatch.setattr("deepclust.partition.linkage._crowded", room)
        linkage = kind((local_affinity if kind is DegreeLinkage else global_affinity)(z, 20), z)
        held = []
        while len(linkage.members) > 2:
            linkage.merge_best()
            held.append(len(linkage.heap))
        trees.append(linkage.tree())
        most.append(held[len(held) // 2])
    np.testing.assert_array_equal(trees[0].children, trees[1].children)
    np.testing.assert_array_equal(trees[0].affinities, trees[1].affinities)
    assert most[1] < most[0]
