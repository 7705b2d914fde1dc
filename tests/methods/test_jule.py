"""JULE: merging with local structure, triplets, periods, and a merge tree that leads from the rows to k clusters."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.testing import assert_close

from deepclust import JULE, MLP, Merging, Pooled, Schedule, Trainer, accuracy
from deepclust.data.rows import Spec
from deepclust.engine.samplers import Pairs
from deepclust.objectives.triplets import Triplets, pair_triplets, triplet_loss
from deepclust.partition.local_linkage import LocalLinkage

EDGES = {
    (0, 1): 0.9, (1, 0): 0.8, (0, 2): 0.5, (2, 0): 0.4, (1, 2): 0.3, (2, 1): 0.2,
    (2, 3): 0.2, (3, 2): 0.1, (3, 4): 0.7, (4, 3): 0.6, (1, 3): 0.1, (3, 1): 0.2,
}  # fmt: skip


def toy(around=2, contrast=1.0):
    weights = np.zeros((5, 5))
    for place, value in EDGES.items():
        weights[place] = value
    graph = scipy.sparse.csr_array(weights)
    points = np.arange(5.0)[:, None]
    return LocalLinkage(graph, points, first=np.array([0, 0, 1, 2, 2]), around=around, contrast=contrast)


def test_scores_and_the_first_merge_have_the_golden_values():
    linkage = toy()
    assert [linkage.affinity(*pair) for pair in ((0, 1), (0, 2), (1, 2))] == pytest.approx([0.38, 0.01, 0.025])
    assert [linkage.score(c)[0] for c in range(3)] == pytest.approx([0.75, 0.735, 0.04])
    linkage.merge_best()
    assert linkage.merges[0][:2] == (0, 1)
    linkage.merge_best()
    assert len(linkage.members) == 1


def test_contrast_decides_between_pairs_of_like_affinity():
    """Without contrast the largest affinity wins; with it, a pair that stands out from what surrounds it."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 2)) + 8 * rng.integers(0, 3, 60)[:, None]
    from deepclust.graph import global_affinity

    graph = global_affinity(points, 6)
    plain, local = (LocalLinkage(graph, points, contrast=c) for c in (0.0, 1.0))
    assert plain.score(0)[0] == pytest.approx(max(plain.affinity(0, other) for other in plain.near[0]))
    while any(local.near.values()) and len(local.members) > 3:
        best = max(local.members, key=lambda c: local.score(c)[0] if local.near[c] else -1.0)
        expected = {best, local.score(best)[1]}
        local.merge_best()
        assert set(local.merges[-1][:2]) == expected, "the heap gives what a full search would"


def test_triplet_loss_has_the_golden_values():
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])

    def loss(negative):
        return triplet_loss(z, Triplets(*(torch.tensor([i]) for i in (0, 1, negative))), gamma=1.0, margin=0.2)

    assert loss(2) == 0
    assert_close(loss(3), torch.tensor(0.6))
    nothing = torch.empty(0, dtype=torch.int64)
    assert triplet_loss(z, Triplets(nothing, nothing, nothing)) == 0


@pytest.mark.parametrize(("sizes", "negatives"), [((3, 4, 2), 5), ((3, 4, 2), 50), ((1, 1, 1), 3), ((6,), 3)])
def test_triplets_are_all_pairs_with_distinct_rows_of_other_clusters(sizes, negatives):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    found = pair_triplets(labels, negatives)
    pairs = sum(n * (n - 1) // 2 for n in sizes)
    usable = len(sizes) > 1 and pairs > 0
    available = min(sum(sizes) - n for n in sizes if n > 1) if usable else 0
    assert len(found.anchor) == (pairs * min(negatives, available) if usable else 0)
    assert (labels[found.anchor] == labels[found.positive]).all()
    assert (labels[found.anchor] != labels[found.negative]).all()
    assert (found.anchor < found.positive).all()
    rows = torch.stack(found, 1)
    assert len(torch.unique(rows, dim=0)) == len(rows)


def test_every_row_of_a_batch_has_company_where_its_cluster_has():
    labels = torch.cat([torch.arange(400).repeat(2), torch.arange(400, 500)])  # some are alone
    batches = list(Pairs(labels)(900, 40, 5, torch.Generator().manual_seed(0)))
    again = list(Pairs(labels)(900, 40, 5, torch.Generator().manual_seed(0)))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    for batch in batches:
        assert len(torch.unique(batch)) == len(batch)
        assert (torch.bincount(labels[batch], minlength=500)[:400] != 1).all(), "nobody who has a mate is without"


COMMON = {
    "network": MLP(hidden=(32,), latent=8),
    "schedule": Schedule(epochs=15, batch_size=40),
    "trainer": Trainer(precision="fp32"),
    "random_state": 0,
}


@pytest.mark.parametrize("mode", ["RC", "SF"])
@pytest.mark.parametrize("eta", [0.9, 0.3, "auto"])
def test_groups_are_found_and_the_tree_leads_to_them(mode, eta, blobs):
    X, y = blobs
    model = JULE(3, mode=mode, merging=Merging(eta=eta, outlier_share=0.0), **COMMON).fit(
        X  # heaps join in the end, off the tree
    )
    assert accuracy(y, model.labels_) > 0.98
    tree = model.tree_
    first = int(tree.first.max()) + 1
    assert len(tree.children) == first - 3
    parent = np.arange(first + len(tree.children))
    for step, (a, b) in enumerate(tree.children):
        assert max(a, b) < first + step, "a merge takes clusters that exist"
        parent[[a, b]] = first + step
    assert len(np.unique(tree.children)) == 2 * len(tree.children), "no cluster is merged twice"
    home = tree.first.copy()
    while (parent[home] != home).any():
        home = parent[home]
    assert len(np.unique(home)) == 3
    assert accuracy(home, model.labels_) > 0.98
    periods = {line["phase"] for line in model.result_.history}
    assert len(periods) >= (1 if eta == 0.9 else 3)
    assert len(periods) == 4 or eta != "auto"


@pytest.mark.parametrize(("first", "k"), [(2500, 10), (799, 68), (12, 10), (9, 8), (40, 1)])
def test_merges_are_spread_evenly_over_the_periods(first, k):
    model, have, shares = JULE(k), first, []
    for period in range(1, 5):
        left = model._left(first, have, period)
        if have > k:
            assert k <= left < have
            shares.append(left / have)
        have = left
    assert have == k
    if first > 100 * k:
        assert max(shares) - min(shares) < 0.1
    assert JULE(k, merging=Merging(eta=0.9))._left(first, first, 1) == max(k, int(first - np.ceil(0.9 * first)))


def test_start_is_the_agglomeration_of_the_rows_as_they_are(blobs):
    X, _ = blobs
    model = JULE(3, **COMMON).fit(X)
    assert len(np.unique(model.result_.start_labels)) == 3
    sf = JULE(3, mode="SF", **COMMON).fit(X)
    assert (sf.result_.start_labels == model.result_.start_labels).all()


@pytest.mark.parametrize(("side", "flat", "pools"), [(16, 1800, 1), (28, 3200, 1), (32, 1250, 2), (8, 800, 1)])
def test_network_has_the_published_geometry(side, flat, pools):
    network = Pooled().build(Spec((1, side, side), 10))
    assert network.width == flat
    assert sum(isinstance(m, torch.nn.MaxPool2d) for m in network.encoder) == pools
    network.eval()
    assert network.embed(torch.rand(2, 1, side, side)).shape == (2, 160)


def test_paper_preset_merges_faces_slowly():
    assert JULE.preset("paper", data="cmu-pie").merging.eta == 0.2
    assert JULE.preset("paper", data="mnist-test").merging.eta == 0.9
