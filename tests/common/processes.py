"""The command line in processes of its own, as tests that kill them need it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.datasets import make_blobs

PROGRAM = [sys.executable, "-m", "tests.common.command"]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
}


def start(*arguments):
    """Begin a process; what it says goes to nobody."""
    nobody = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], **nobody, env=ENVIRONMENT)


def labels(out):
    """Clusters in a finished run folder."""
    return pq.read_table(out / "assignments.parquet").column("cluster").to_pylist()


def groups(folder):
    """A file of rows in four groups, which no rounding moves."""
    path = folder / "x.npy"
    np.save(path, make_blobs(400, n_features=16, centers=4, random_state=0)[0].astype(np.float32))
    return path


def noise(folder):
    """A file of rows without groups, where a lost step shows in the labels."""
    path = folder / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32))
    return path
