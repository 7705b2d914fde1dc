"""Libraries built on numba leave torch with the threads that it had."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np, torch
from umap import UMAP
from deepclust.threads import threads_kept

torch.set_num_threads(1)
x = np.random.default_rng(0).random((300, 5)).astype(np.float32)
with threads_kept():
    UMAP(n_epochs=20).fit(x)
print(torch.get_num_threads())
UMAP(n_epochs=20).fit(x)  # without a seed it takes all cores, and torch with it
print(torch.get_num_threads())
"""


def test_torch_keeps_its_threads():
    pytest.importorskip("umap")
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, env=free)
    kept, _ = done.stdout.split()
    assert kept == "1", done.stderr
