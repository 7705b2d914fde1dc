"""Exact and approximate neighbours."""

import builtins

import numpy as np
import pytest

from deepclust.errors import MissingExtraError
from deepclust.graph import neighbours
from deepclust.graph.neighbours import nearest_neighbors


def test_exact_neighbours_are_those_of_all_distances():
    z = np.random.default_rng(0).normal(size=(60, 5))
    every = np.linalg.norm(z[:, None] - z[None], axis=2)
    np.fill_diagonal(every, np.inf)
    distances, index = nearest_neighbors(z, 7)
    assert (index == every.argsort(axis=1)[:, :7]).all()
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :7])
    assert nearest_neighbors(z[:4], 7)[1].shape == (4, 3)


def test_neighbours_of_some_rows_are_those_among_all():
    z = np.random.default_rng(0).normal(size=(60, 3))
    distances, index = nearest_neighbors(z, 7)
    rows = np.array([41, 3, 59])
    some_distances, some = nearest_neighbors(z, 7, rows=rows)
    assert (some == index[rows]).all()
    np.testing.assert_allclose(some_distances, distances[rows])
    equal = nearest_neighbors(np.zeros((30, 2)), 5, rows=np.arange(30))[1]
    assert equal.shape == (30, 5)
    assert not (equal == np.arange(30)[:, None]).any(), "a row is not its own neighbour, however many equal it"


@pytest.mark.filterwarnings("ignore::Warning:numba", "ignore::DeprecationWarning")
def test_approximate_neighbours_are_nearly_all_and_never_the_row_itself():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(800, 12)).astype(np.float32)
    z[:40] = z[0]  # more equal rows than a list is long
    distances, index = nearest_neighbors(z, 10, approximate=True)
    assert index.shape == distances.shape == (800, 10)
    assert not (index == np.arange(800)[:, None]).any()
    assert (np.diff(distances, axis=1) >= 0).all()
    np.testing.assert_allclose(distances, np.linalg.norm(z[:, None] - z[index], axis=2), atol=1e-3)
    exact = nearest_neighbors(z, 10)[1]
    found = [len(np.intersect1d(a, b)) for a, b in zip(index[40:], exact[40:], strict=True)]
    assert np.mean(found) > 9.5
    assert (nearest_neighbors(z, 10, approximate=True)[1] == index).all()


def test_many_rows_without_the_package_say_what_to_install(monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pynndescent":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 50)
    with pytest.raises(MissingExtraError, match=r"deepclust\[manifold\]"):
        nearest_neighbors(np.zeros((60, 2)), 3)
