"""One thread a worker: small networks are several times slower when threads outnumber cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from sklearn.datasets import load_digits, make_blobs

torch.set_num_threads(1)
# Shapes and types in signatures are checked while tests run.
install_import_hook(["deepclust.objectives", "deepclust.networks", "deepclust.partition"], "beartype.beartype")


@pytest.fixture
def blobs():
    """Three well-separated groups in 20 dimensions."""
    X, y = make_blobs(150, n_features=20, centers=3, cluster_std=1.0, random_state=0)
    return X.astype(np.float32), y


@pytest.fixture(scope="session")
def digits():
    data = load_digits()
    return data.images, data.target


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line; return exit code, standard output, standard error."""

    from deepclust.cli.main import main

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["deepclust", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture
def data_home():
    """The folder of public data sets, or a skip that says why."""
    folder = os.environ.get("DEEPCLUST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DEEPCLUST_DATA names no folder of public data sets")
    return Path(folder)


def pytest_runtest_setup():
    # Libraries that share torch's OpenMP runtime may leave it with more threads than a worker has cores.
    torch.set_num_threads(1)


settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")
