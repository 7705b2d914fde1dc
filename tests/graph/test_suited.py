"""How many neighbours suit clusters of a size."""

import pytest

from deepclust.graph import suited_neighbors


@pytest.mark.parametrize(
    ("n", "k", "most", "count"),
    [(10_000, 10, 30, 30), (2_856, 68, 30, 10), (800, 10, 30, 20), (800, 10, 15, 15), (20, 10, 20, 10)],
)
def test_neighbours_are_a_quarter_of_a_cluster_within_bounds(n, k, most, count):
    assert suited_neighbors(n, k, most) == count
