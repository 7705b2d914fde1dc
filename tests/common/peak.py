"""Fit one method to all of MNIST in memory, one epoch a phase, and print the process's peak memory in MiB.

python -m tests.common.peak METHOD [STEPS]

With a number of steps a phase, the network is a small one as well.
"""

import dataclasses
import sys
from pathlib import Path

from deepclust import MLP, Schedule, load_dataset
from deepclust.methods import METHODS
from deepclust.params import AbstractParameters


def brief(parameters, **schedule):
    """The same parameters, with schedules of one epoch at any depth."""
    if isinstance(parameters, Schedule):
        return dataclasses.replace(parameters, epochs=1, **schedule)
    inner = {
        key: brief(value, **schedule)
        for key, value in parameters.get_params(deep=False).items()
        if isinstance(value, AbstractParameters)
    }
    return parameters(**inner) if inner else parameters


def peak():
    """The most that this process ever had in memory; a child of fork and exec has a count of its own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    method, steps = sys.argv[1], {"steps": int(sys.argv[2])} if len(sys.argv) > 2 else {}
    entry = METHODS[method]
    model = entry.load()(10, random_state=0, **entry.params)
    changed = {
        key: brief(value, **steps)
        for key, value in model.get_params(deep=False).items()
        if isinstance(value, AbstractParameters) and key != "trainer"
    }
    if steps:
        changed["network"] = MLP(hidden=(32,), latent=4)
    X = load_dataset("mnist").X
    assert len(X) == 70_000
    model.set_params(**changed).fit(X)
    sys.stdout.write(f"{round(peak())}\n")
