"""JULE: merging with local structure, triplets, periods, and a merge tree that leads from the rows to k clusters."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from deepclust import JULE, MLP, Merging, Pooled, Schedule, Trainer, Triplet, accuracy
from deepclust.data.rows import Spec, as_rows
from deepclust.engine.samplers import Pairs
from deepclust.errors import InvalidParameterError
from deepclust.graph import global_affinity, moved, neighbor_differences
from deepclust.methods.jule import JULEModel
from deepclust.objectives.triplets import Triplets, pair_triplets, triplet_loss
from deepclust.partition.local_linkage import LocalLinkage

EDGES = {
    (0, 1): 0.9, (1, 0): 0.8, (0, 2): 0.5, (2, 0): 0.4, (1, 2): 0.3, (2, 1): 0.2,
    (2, 3): 0.2, (3, 2): 0.1, (3, 4): 0.7, (4, 3): 0.6, (1, 3): 0.1, (3, 1): 0.2,
}  # fmt: skip


def toy(around=2, contrast=1.0, **settings):
    weights = np.zeros((5, 5))
    for place, value in EDGES.items():
        weights[place] = value
    graph = scipy.sparse.csr_array(weights)
    points = np.arange(5.0)[:, None]
    return LocalLinkage(graph, points, first=np.array([0, 0, 1, 2, 2]), around=around, contrast=contrast, **settings)


def test_scores_and_the_first_merge_have_the_golden_values():
    linkage = toy()
    assert [linkage.affinity(*pair) for pair in ((0, 1), (0, 2), (1, 2))] == pytest.approx([0.38, 0.01, 0.025])
    assert [linkage.score(c)[0] for c in range(3)] == pytest.approx([0.75, 0.735, 0.04])
    linkage.merge_best()
    assert linkage.merges[0][:2] == (0, 1)
    linkage.merge_best()
    assert len(linkage.members) == 1


@pytest.mark.parametrize(("additive", "expected"), [(False, 0.165), (True, 0.156111)])
def test_affinity_of_merged_clusters_is_exact_or_the_programs_sum(additive, expected):
    linkage = toy(additive=additive)
    linkage._merge(1, 2, linkage.affinity(1, 2))
    assert linkage.affinity(0, 3) == pytest.approx(expected, abs=1e-6)
    assert linkage.near == {0: {3}, 3: {0}}


def test_additive_affinities_are_sums_over_the_clusters_at_the_start():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(80, 2))
    graph = global_affinity(points, 6)
    linkage = LocalLinkage(graph, points, additive=True)
    start, first = linkage.first.copy(), {c: dict(flow) for c, flow in linkage.flow.items()}
    while len(linkage.members) > 3:
        linkage.merge_best()
    inside = {c: set(np.unique(start[rows]).tolist()) for c, rows in linkage.members.items()}
    for a, parts in inside.items():
        for b, others in inside.items():
            if a != b:
                expected = sum(first[i].get(j, 0.0) for i in parts for j in others)
                assert linkage.flow[a].get(b, 0.0) == pytest.approx(expected)


def islands():
    """Return rows in a line and their graph: a linked pair of clusters, then three that no link leads to or from."""
    points = np.array([0.0, 0.1, 1.0, 1.1, 1.5, 1.6, 9.0, 9.1, 10.0, 10.1])[:, None]
    weights = np.zeros((10, 10))
    for i in range(0, 10, 2):
        weights[i, i + 1] = weights[i + 1, i] = 1.0
    weights[1, 2] = weights[2, 1] = 0.5
    return scipy.sparse.csr_array(weights), points, np.repeat(np.arange(5), 2)


def test_isolated_clusters_join_the_nearest_means():
    graph, points, first = islands()
    linkage = LocalLinkage(graph, points, first=first)
    assert [c for c in range(5) if not linkage.near[c]] == [2, 3, 4]
    linkage.join_isolated(3)
    assert linkage.labels().tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2], "and no fewer are left than asked for"
    assert [merge[2] for merge in linkage.merges] == [0.0, 0.0]
    linkage.join_isolated()
    assert linkage.labels().tolist() == [0, 0] + [1] * 8, "the pair of islands joins as well"
    before = len(linkage.merges)
    linkage.join_isolated()
    assert len(linkage.merges) == before, "nothing is isolated any more"


@pytest.mark.parametrize(("above", "joined"), [(None, False), (2, False), (1, True)])
def test_isolated_clusters_are_joined_while_there_are_many(above, joined, monkeypatch):
    graph, points, first = islands()
    monkeypatch.setattr("deepclust.methods.jule.global_affinity", lambda points, neighbors: graph)
    model = JULE(3, merging=Merging(isolated_above=above))
    linkage = model._linkage(torch.from_numpy(points), torch.from_numpy(first))
    assert len(linkage.members) == (3 if joined else 5)


def test_contrast_decides_between_pairs_of_like_affinity():
    """Without contrast the largest affinity wins; with it, a pair that stands out from what surrounds it."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 2)) + 8 * rng.integers(0, 3, 60)[:, None]
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


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("mode", ["RC", "SF"])
@pytest.mark.parametrize("eta", [0.9, 0.3, "auto"])
def test_groups_are_found_and_the_tree_leads_to_them(mode, eta, anew, blobs):
    X, y = blobs
    last = "auto" if anew and mode == "SF" else None
    rule = Merging(eta=eta, outlier_share=0.0, anew=anew, last_neighbors=last)  # heaps join in the end, off the tree
    model = JULE(3, mode=mode, merging=rule, **COMMON).fit(X)
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
    for period in range(1, model.merging.periods + 1):
        left = model._left(first, have, period)
        if have > k:
            assert k <= left < have
            shares.append(left / have)
        have = left
    assert have == k
    if first > 100 * k:
        assert max(shares) - min(shares) < 0.1
    assert JULE(k, merging=Merging(eta=0.9))._left(first, first, 1) == max(k, int(first - np.ceil(0.9 * first)))


@pytest.mark.parametrize("anew", [False, True])
def test_a_period_undoes_mistakes_of_former_ones_or_keeps_them(anew):
    groups = torch.arange(6).repeat_interleave(30)
    features = F.one_hot(groups).double() + 0.01 * torch.randn(180, 6, generator=torch.Generator().manual_seed(0))
    model = JULE(2, merging=Merging(anew=anew, neighbors=10))
    before = model._first(features)
    wrong = before["labels"].clone()
    wrong[0] = wrong[-1]  # a row of the first group in a cluster of the last
    after = model._merge(features, {**before, "labels": wrong}, first=len(wrong.unique()), period=1)["labels"]
    assert (after[0] == after[1]) == anew
    assert (after[0] == after[-1]) != anew


@pytest.mark.parametrize(("last", "neighbors", "joined"), [("auto", 30, True), (40, 40, True), (None, 10, False)])
def test_last_merges_look_beyond_what_the_network_has_moved_apart(last, neighbors, joined):
    """A small group, a large one, and one in halves: ten neighbours of a row are all in its own half."""
    places = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [10.0, 0.0]])
    islands = torch.arange(4).repeat_interleave(torch.tensor([20, 100, 30, 30]))
    features = places[islands] + 0.01 * torch.randn(180, 2, generator=torch.Generator().manual_seed(0))
    model = JULE(3, merging=Merging(periods=1, neighbors=10, last_neighbors=last, outlier_share=0.0))
    assert model._last_neighbors(180) == neighbors
    before = {**model._first(features), "labels": islands, "names": torch.arange(4)}
    labels = model._merge(features, before, first=4, period=1)["labels"]
    assert len(labels.unique()) == 3
    assert (labels[-1] == labels[130]) == joined


def test_last_merges_that_would_be_forgotten_cannot_be_set(blobs):
    with pytest.raises(InvalidParameterError, match=r"'last_neighbors' .* must be None with mode='RC'.*Got 30"):
        JULE(3, merging=Merging(last_neighbors=30), **COMMON).fit(blobs[0])


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


def test_paper_preset_merges_as_the_program_does(blobs):
    X, y = blobs
    rule = JULE.preset("paper").merging
    assert (rule.affinities, rule.isolated_above, rule.outlier_share) == ("additive", 20, 0.0)
    assert not rule.anew
    assert rule.last_neighbors is None
    assert accuracy(y, JULE(3, merging=rule, **COMMON).fit(X).labels_) > 0.98


@pytest.mark.parametrize(
    ("triplet", "side", "in_pairs", "jitter"),
    [
        (JULE.preset("paper").triplet, None, False, None),
        (Triplet(), None, True, None),
        (JULE().triplet, None, True, 1.0),
        (JULE().triplet, (4, 5), False, None),
        (Triplet(batches="random", jitter=0.5), (4, 5), False, 0.5),
    ],
)
def test_batches_and_jitter_are_the_ones_of_images_or_of_flat_rows(triplet, side, in_pairs, jitter, blobs, monkeypatch):
    X, y = blobs
    made, times = [], []
    monkeypatch.setattr("deepclust.methods.jule.Pairs", lambda labels: made.append(labels) or Pairs(labels))
    monkeypatch.setattr("deepclust.methods.jule.moved", lambda x, of, much: times.append(much) or moved(x, of, much))
    X = X if side is None else X.reshape(-1, *side)
    model = JULE(3, triplet=triplet, **COMMON).fit(X)
    assert accuracy(y, model.labels_) > 0.98
    assert bool(made) == in_pairs
    assert set(times) == ({jitter} if jitter else set())


@pytest.mark.parametrize(
    ("triplet", "shape", "batches", "jitter", "dropout"),
    [
        (JULE().triplet, (63,), "pairs", 1.0, 0.0),
        (JULE().triplet, (64,), "random", 0.0, 0.5),
        (JULE().triplet, (1, 8, 8), "random", 0.0, 0.0),
        (JULE().triplet(dropout=0.2), (64,), "random", 0.0, 0.2),
        (JULE().triplet(jitter=2.0), (64,), "random", 2.0, 0.0),
        (Triplet(), (64,), "pairs", 0.0, 0.0),
        (JULE.preset("paper").triplet, (64,), "random", 0.0, 0.0),
    ],
)
def test_wide_rows_lose_values_and_narrow_ones_move(triplet, shape, batches, jitter, dropout):
    spec = as_rows(np.random.default_rng(0).normal(size=(30, *shape))).spec
    rule = triplet.settled(spec)
    assert (rule.batches, rule.jitter, rule.dropout) == (batches, jitter, dropout)


@pytest.mark.parametrize(("share", "seen"), [(None, 0.5), (0.25, 0.25), (0.0, 0.0)])
def test_wide_rows_lose_values_in_training_alone(share, seen, digits, monkeypatch):
    X = digits[0].reshape(-1, 64)[:200]
    lost, embed = {True: [], False: []}, JULEModel.embed

    def spy(self, x):
        lost[self.training].append(float((x == 0).double().mean()))
        return embed(self, x)

    monkeypatch.setattr(JULEModel, "embed", spy)
    JULE(10, triplet=Triplet(batches="auto", jitter="auto", dropout=share), **COMMON).fit(X)
    plain = np.mean(lost[False])  # columns that are always 0
    assert np.mean(lost[True]) == pytest.approx(plain + seen * (1 - plain), abs=0.02)


def test_training_keeps_what_flat_digits_start_with(digits):
    images, y = digits
    chosen = np.random.default_rng(0).permutation(len(y))[:600]
    X = images.reshape(len(images), -1)[chosen]
    model = JULE(10, network=MLP((200,), latent=16, norm=True), random_state=0, trainer=Trainer(precision="fp32")).fit(
        X
    )
    assert accuracy(y[chosen], model.labels_) > accuracy(y[chosen], model.result_.start_labels) - 0.05


def test_rows_move_by_differences_of_their_neighbours(monkeypatch):
    near = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)) * 0.1
    near[50:, 0] += 100.0
    differences = neighbor_differences(near, 0)
    assert differences.shape == (100, 2)
    assert 0 < differences.norm(dim=1).min() <= differences.norm(dim=1).max() < 1, "never across the groups"
    assert_close(differences, neighbor_differences(near, 0))
    assert not torch.equal(differences, neighbor_differences(near, 1))
    monkeypatch.setattr("deepclust.graph.differences._MOST_VALUES", 40)
    assert neighbor_differences(near, 0).shape == (20, 2)
    x = torch.zeros(7, 1, 2)
    steps = moved(x, differences, 2.0)
    assert steps.shape == x.shape
    assert all((2 * differences == step).all(1).any() for step in steps.flatten(1))
    assert neighbor_differences(near[:2], 0).abs().sum() > 0, "two rows are neighbours"
