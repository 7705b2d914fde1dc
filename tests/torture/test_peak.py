"""All of MNIST fits into 2 GB of memory with every deep method; the table of quality has the baselines."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepclust.methods import DEEP
from tests.common.processes import ENVIRONMENT, ROOT
from tests.common.torture import IS_FULL, record

MOST = 2048
_found = {}


@pytest.mark.data
@pytest.mark.timeout(5400)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", list(DEEP) if IS_FULL else ["two_stage"])
def test_mnist_fits_into_two_gigabytes(name, data_home):
    # The default sample takes a few steps of a small network: rows and what all of them are needed for stay the same.
    steps = [] if IS_FULL else ["5"]
    command = [sys.executable, "-m", "tests.common.peak", name, *steps]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _found[name] = int(done.stdout.split()[-1])
    record("peaks", data="mnist", rows=70_000, most_mib=MOST, peak_mib=_found)
    assert _found[name] < MOST, f"{_found[name]} MiB"
