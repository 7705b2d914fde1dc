"""How many neighbours suit clusters of a size, and how many of them are mutual."""

import numpy as np
import pytest

from deepclust.graph import mutual_share, suited_neighbors


@pytest.mark.parametrize(
    ("n", "k", "most", "count"),
    [(10_000, 10, 30, 30), (2_856, 68, 30, 10), (800, 10, 30, 20), (800, 10, 15, 15), (20, 10, 20, 10)],
)
def test_neighbours_are_a_quarter_of_a_cluster_within_bounds(n, k, most, count):
    assert suited_neighbors(n, k, most) == count


def test_links_that_go_both_ways_are_counted():
    line = np.array([[0.0], [1.0], [2.1], [3.3]])  # nearest: 0->1, 1->0, 2->1, 3->2
    assert mutual_share(line, 1) == pytest.approx(2 / 4)
    assert mutual_share(line, 3) == 1
