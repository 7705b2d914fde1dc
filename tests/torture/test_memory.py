"""Fitting does not grow over the epochs."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from deepclust import Callback
from tests.common.small import DEEP, small
from tests.common.torture import IS_FULL, count, record

EPOCHS = count(60, 200)
_found = {}


def resident():
    """Bytes in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Weigh(Callback):
    """Weighs the process after every tenth epoch of a phase."""

    def __init__(self):
        self.weights = {}

    def on_epoch_end(self, session, phase, record):
        if record["epoch"] % 10 == 9:
            gc.collect()
            self.weights.setdefault(phase.name, []).append(resident())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", DEEP if IS_FULL else ["vade", "dec"])
def test_fitting_does_not_grow(name):
    X = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    weigh = Weigh()
    model = small(name, epochs=EPOCHS)
    model.set_params(trainer=model.trainer(callbacks=(weigh,))).fit(X)
    longest = max(weigh.weights.values(), key=len)
    # The first ten epochs fill caches; after them a leak of one batch an epoch would show many times over.
    grown = (longest[-1] - longest[0]) / 2**20
    epochs = 10 * (len(longest) - 1)
    _found[name] = {"epochs": epochs, "grown_mib": round(grown, 2)}
    assert epochs >= 50
    assert grown < 8, f"{grown:.1f} MiB in {epochs} epochs"


def test_growth_is_on_record():
    record("memory", methods=_found)
