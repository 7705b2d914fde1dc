"""The command line in processes of its own, as tests that kill them need it."""

import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq

# Without UMAP, whose compilation takes longer than everything else here; the map is of principal components then.
PROGRAM = [sys.executable, "-c", "import sys; sys.modules['umap'] = None; from deepclust.cli.main import main; main()"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(*arguments):
    """Begin a process; what it says goes to nobody."""
    nobody = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], **nobody, env=ENVIRONMENT)


def labels(out):
    """Clusters in a finished run folder."""
    return pq.read_table(out / "assignments.parquet").column("cluster").to_pylist()


def noise(folder):
    """A file of rows without groups, where a lost step shows in the labels."""
    path = folder / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32))
    return path
