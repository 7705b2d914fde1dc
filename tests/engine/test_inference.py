"""Results of all rows, in order, in memory or beside it."""

import numpy as np
import pytest
import torch

from deepclust.data import stored
from deepclust.data.rows import as_rows
from deepclust.engine.inference import map_rows
from deepclust.networks.scaler import Scaler


@pytest.mark.parametrize("n", [1, 255, 256, 700])
@pytest.mark.parametrize("room", [1 << 30, 1_000])
def test_rows_are_mapped_in_order_whatever_room_there_is(n, room, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY", room)
    made, memmap = [], np.memmap
    monkeypatch.setattr(np, "memmap", lambda *a, **kw: made.append(kw["shape"]) or memmap(*a, **kw))
    X = np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)
    rows, model = as_rows(X), torch.nn.Linear(5, 3)
    scaler = Scaler.fit(rows, "none")
    double, number = map_rows(lambda x: (2 * x, x.argmax(1)), rows, scaler, model)
    np.testing.assert_allclose(double, 2 * X, rtol=1e-6)
    np.testing.assert_array_equal(number, X.argmax(1))
    assert ((n, 5) in made) == (n * 20 > room)
    single = map_rows(model, rows, scaler, model)
    torch.testing.assert_close(single, model(torch.from_numpy(X)))
    if n > 512:
        some = map_rows(model, rows, scaler, model, span=(256, 600))
        torch.testing.assert_close(some, single[256:600])


def test_a_full_disk_is_an_error(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored, "IN_MEMORY", 100)
    monkeypatch.setattr("os.posix_fallocate", full)
    rows = as_rows(np.random.default_rng(0).normal(size=(300, 5)))
    with pytest.raises(OSError, match="No space left"):
        map_rows(lambda x: x, rows, Scaler.fit(rows, "none"), torch.nn.Identity())
