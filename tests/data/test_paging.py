"""Rows of a mapped file are asked for at once, and come out the same."""

import mmap

import numpy as np
import pytest
import torch

from deepclust.data.paging import ask_for, map_of
from deepclust.data.rows import as_rows

needs_hints = pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no hints about maps")


@pytest.fixture
def stored(tmp_path):
    X = np.random.default_rng(0).integers(0, 255, size=(500, 100), dtype=np.uint8)
    np.save(tmp_path / "x.npy", X)
    return X, np.load(tmp_path / "x.npy", mmap_mode="r")


class Watched:
    """A map that keeps what it is asked for."""

    def __init__(self, error=None):
        self.asked, self.error = [], error

    def madvise(self, option, start, length):
        self.asked.append((option, start, length))
        if self.error:
            raise self.error


@needs_hints
def test_asked_for_are_the_pages_of_the_rows_and_no_others(stored, monkeypatch):
    _, mapped = stored
    watched, real = Watched(), map_of(mapped)
    monkeypatch.setattr("deepclust.data.paging.map_of", lambda _: watched)
    monkeypatch.setattr("deepclust.data.paging.np.frombuffer", lambda _, dtype: np.ndarray(0, dtype, real))
    ask_for(mapped[100:], np.array([390, 0, 50]))
    header = mapped.offset
    for (option, start, length), row in zip(watched.asked, (100, 150, 490), strict=True):
        assert option == mmap.MADV_WILLNEED
        assert start % mmap.PAGESIZE == 0
        assert start <= header + 100 * row < start + mmap.PAGESIZE
        assert start + length == header + 100 * (row + 1)


@needs_hints
def test_a_system_that_refuses_the_hint_gives_the_rows_all_the_same(stored, monkeypatch):
    X, mapped = stored
    refused = Watched(OSError("not now"))
    monkeypatch.setattr("deepclust.data.paging.map_of", lambda _: refused)
    monkeypatch.setattr("deepclust.data.paging.np.frombuffer", lambda _, dtype: np.zeros(1, dtype))
    np.testing.assert_array_equal(as_rows(mapped).gather(torch.tensor([3, 1])), X[[3, 1]])
    assert len(refused.asked) == 1


@pytest.mark.parametrize("view", [lambda m: m, lambda m: m[7:], lambda m: m[::2], lambda m: m[:, ::-1], np.asarray])
def test_rows_of_any_view_are_the_rows_of_the_array(view, stored):
    X, mapped = stored
    index = torch.tensor([5, 0, 240, 5])
    rows = as_rows(view(mapped))
    assert rows.is_stored
    np.testing.assert_array_equal(rows.gather(index), view(X)[index])
    np.testing.assert_array_equal(rows.take(index).gather(torch.arange(4)), view(X)[index])


def test_what_lies_in_memory_is_not_mapped(stored):
    X, mapped = stored
    assert map_of(X) is None
    assert map_of(mapped[3:, 2]) is map_of(mapped)
    ask_for(X, np.array([1]))
