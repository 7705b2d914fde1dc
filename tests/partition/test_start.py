"""Where clustering starts from, and what expected shares of the clusters have to say there."""

import numpy as np
import pytest
import torch

from deepclust.partition import start as module
from deepclust.partition import start_labels
from deepclust.partition.linkage import graph_degree_linkage

UNIFORM = torch.full((3,), 1 / 3)


def of_sizes(*sizes: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


@pytest.fixture
def linkages(monkeypatch) -> list[int | None]:
    """Linkages that depend on nothing but the number of neighbours, which is noted."""
    sizes = {
        15: (80, 20, 20),
        20: (50, 30, 40),
        25: (60, 50, 10),
        30: (100, 10, 10),
        40: (70, 30, 20),
        None: (100, 10, 10),
    }
    asked: list[int | None] = []

    def link(codes, k, neighbors=None):
        asked.append(neighbors)
        return of_sizes(*sizes[neighbors])

    monkeypatch.setattr(module, "graph_degree_linkage", link)
    monkeypatch.setattr(module, "suited_neighbors", lambda n, k, most: most)
    return asked


def sizes_of(labels: torch.Tensor) -> list[int]:
    return torch.bincount(labels).tolist()


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (None, [100, 10, 10]),
        (UNIFORM, [50, 30, 40]),
        (torch.tensor([0.1, 0.1, 0.8]), [10, 10, 100]),
        (torch.tensor([0.2, 0.65, 0.15]), [20, 80, 20]),
    ],
)
def test_linkage_nearest_to_the_expected_shares_is_taken(linkages, prior, expected):
    assert sizes_of(start_labels(torch.zeros(120, 2), 3, "linkage", seed=0, prior=prior)) == expected
    assert linkages == ([None] if prior is None else [15, 20, 25, 30, 40])


def test_few_rows_have_one_linkage_alone(monkeypatch):
    asked = []

    def link(codes, k, neighbors=None):
        asked.append(neighbors)
        return graph_degree_linkage(codes, k, neighbors=neighbors)

    monkeypatch.setattr(module, "graph_degree_linkage", link)
    codes = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    start_labels(codes, 3, "linkage", seed=0, prior=UNIFORM)
    assert asked == [10]


@pytest.mark.parametrize("start", ["linkage", "kmeans"])
def test_largest_cluster_has_the_largest_share_whatever_the_start(start):
    """Clusters come in the order of their first rows: 60, 30 and 10 rows here, which are the shares of 1, 0 and 2."""
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(np.concatenate([rng.normal(20 * c, 1, (n, 2)) for c, n in enumerate((60, 30, 10))]))
    labels = start_labels(codes, 3, start, seed=0, prior=torch.tensor([0.3, 0.6, 0.1]))
    assert sizes_of(labels) == [30, 60, 10]
    assert labels[0] == 1
    assert labels[-1] == 2


def test_equal_shares_leave_numbers_as_they_are(linkages):
    labels = start_labels(torch.zeros(120, 2), 3, "linkage", seed=0, prior=UNIFORM)
    assert labels.tolist() == of_sizes(50, 30, 40).tolist()
