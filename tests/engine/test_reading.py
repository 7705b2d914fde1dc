"""Rows come in the order of the steps, whether they lie in memory or on disk."""

import threading

import numpy as np
import pytest
import torch

from deepclust.data.rows import Rows, as_rows
from deepclust.engine.reading import read_steps


@pytest.fixture
def stored(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    return X, np.load(tmp_path / "x.npy", mmap_mode="r")


def steps(count=6):
    return iter(torch.arange(48).view(count, -1))


@pytest.mark.parametrize("first", [0, 2, 5, 6])
def test_steps_come_in_order_from_the_first_that_is_wanted(first, stored):
    X, mapped = stored
    for source in (X, mapped, mapped[:49], np.asarray(mapped)):
        rows = as_rows(source)
        assert rows.is_stored == (source is not X)
        found = list(read_steps(rows, steps(), first))
        assert [read.step for read in found] == list(range(first, 6))
        for read in found:
            np.testing.assert_array_equal(read.x, X[read.numbers])
            assert read.share.total == 8


def test_the_next_step_is_read_while_one_is_computed(stored, monkeypatch):
    began = [threading.Event() for _ in range(6)]
    gather = Rows.gather

    def watched(self, index):
        began[int(index[0]) // 8].set()
        return gather(self, index)

    monkeypatch.setattr(Rows, "gather", watched)
    for read in read_steps(as_rows(stored[1]), steps(), 0):
        if read.step < 5:
            assert began[read.step + 1].wait(timeout=10), "its successor is being read"


def test_a_broken_disk_is_told_by_the_step_that_needs_it(stored, monkeypatch):
    def broken(self, index):
        raise OSError("the disk is gone")

    monkeypatch.setattr(Rows, "gather", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        next(iter(read_steps(as_rows(stored[1]), steps(), 0)))
