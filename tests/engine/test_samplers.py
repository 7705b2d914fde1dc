"""Orders of rows: who comes together in a step."""

import numpy as np
import torch
from torch.testing import assert_close

from deepclust.engine.samplers import Triples, Walks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chain():
    """Four rows in a line, the middle edge weak, sorted by row."""
    edges = [(0, 1, 2.0), (1, 0, 2.0), (1, 2, 0.5), (2, 1, 0.5), (2, 3, 2.0), (3, 2, 2.0)]
    row, column, weight = map(torch.tensor, zip(*edges, strict=True))
    dense = torch.zeros(4, 4, dtype=torch.float64)
    dense[row, column] = weight.double()
    return row, column, weight, dense


def test_edges_come_in_proportion_to_their_weight():
    row, column, weight, dense = chain()
    (ends,) = Walks(row, column, weight)(4, 40_000, 1, seeded())
    begin, end = ends.tensor_split(2)
    found = torch.zeros(4, 4, dtype=torch.float64).index_put_(
        (begin, end), torch.ones(20_000).double(), accumulate=True
    )
    assert_close(found / 20_000, dense / dense.sum(), atol=0.012, rtol=0)


def test_walks_end_where_powers_of_the_transition_say_and_keep_degrees():
    row, column, weight, dense = chain()
    (ends,) = Walks(row, column, weight, length=5)(4, 80_000, 1, seeded())
    begin, end = ends.tensor_split(2)
    found = torch.zeros(4, 4, dtype=torch.float64).index_put_(
        (begin, end), torch.ones(40_000).double(), accumulate=True
    )
    degree = dense.sum(1)
    expected = torch.diag(degree / degree.sum()) @ torch.linalg.matrix_power(dense / degree.unsqueeze(1), 5)
    assert_close(found / 40_000, expected, atol=0.012, rtol=0)
    assert_close(torch.bincount(end) / 40_000, degree / degree.sum(), atol=0.012, rtol=0, check_dtype=False)


def test_walks_repeat_with_their_generator():
    row, column, weight, _ = chain()
    walks = Walks(row, column, weight, length=3)
    first, second = list(walks(4, 10, 3, seeded(1))), list(walks(4, 10, 3, seeded(1)))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_triples_are_a_row_a_neighbour_and_another():
    n = 30
    near = torch.stack([(torch.arange(n) + 1) % n, (torch.arange(n) + 2) % n], dim=1)
    for index in Triples(near)(n, 300, 5, seeded()):
        row, mate, other = index.tensor_split(3)
        assert len(row) == len(mate) == len(other) == 100
        assert set(((mate - row) % n).tolist()) == {1, 2}
        assert not np.isin(((other - row) % n).numpy(), [0, 1, 2]).any()


def test_others_are_no_neighbours_even_where_most_rows_are():
    n = 6
    near = torch.stack([(torch.arange(n) + i) % n for i in range(1, 5)], dim=1)  # all but one of the others
    for index in Triples(near)(n, 300, 5, seeded()):
        row, _, other = index.tensor_split(3)
        assert set(((other - row) % n).tolist()) == {5}
