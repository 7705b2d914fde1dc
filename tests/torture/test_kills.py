"""kill -9 at random moments, over all methods: the run is untouched or resumable, and ends as if nothing had been.

A full run kills 200 times; by default one method is killed twice.
"""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from deepclust.params import AbstractParameters
from tests.common.processes import ENVIRONMENT, PROGRAM, labels, noise, start
from tests.common.small import DEEP, small
from tests.common.torture import IS_FULL, record

KILLS = 200 if IS_FULL else 2
_told = {}


def schedules(parameters, prefix=""):
    """Names of all schedules of a method, at any depth."""
    for key, value in parameters.get_params(deep=False).items():
        if type(value).__name__ == "Schedule":
            yield f"{prefix}{key}"
        elif isinstance(value, AbstractParameters):
            yield from schedules(value, f"{prefix}{key}__")


def short(name):
    """Options that make a run of a method last a few seconds."""
    options = ["--method", name, "-p", "trainer__checkpoint_seconds=0.1", "-p", 'trainer__precision="fp32"']
    for place in schedules(small(name)):
        options += ["-p", f"{place}__epochs=25", "-p", f"{place}__batch_size=64"]
    return options


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return noise(tmp_path_factory.mktemp("data"))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("number", range(len(DEEP)) if IS_FULL else [0])
def test_killed_runs_end_as_if_nothing_had_been(number, data, tmp_path):
    name, rng = DEEP[number], np.random.default_rng(number)
    wanted = -(-KILLS // len(DEEP)) if IS_FULL else KILLS
    began = time.monotonic()
    whole = start("fit", data, "-k", "4", "--out", tmp_path / "whole", *short(name))
    assert whole.wait() == 0
    seconds = time.monotonic() - began
    kills = resumed = untouched = rounds = 0
    while kills < wanted:
        out = tmp_path / f"run-{rounds}"
        rounds += 1
        arguments = ["fit", data, "-k", "4", "--out", out, *short(name)]
        while True:
            process = start(*arguments)
            try:
                # Anywhere in the run; later ones go on from a checkpoint, so they are given less time.
                process.wait(timeout=float(rng.uniform(1.0, 1.1 * seconds)) if kills < wanted else 300)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            if out.exists():
                arguments, resumed = ["fit", "--resume", out], resumed + 1
            else:
                untouched += 1
        assert process.returncode == 0
        assert labels(out) == labels(tmp_path / "whole")
    _told[name] = {
        "kills": kills,
        "resumed": resumed,
        "untouched": untouched,
        "runs": rounds,
        "seconds": round(seconds, 1),
    }


def test_all_kills_are_on_record():
    record("kills", kills=sum(told["kills"] for told in _told.values()), methods=_told)
    if IS_FULL:
        assert set(_told) == set(DEEP)
        assert sum(told["kills"] for told in _told.values()) >= KILLS


def is_root_with_mounts(folder):
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", folder], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.timeout(600)
@pytest.mark.skipif(not IS_FULL, reason="minutes; by default a limit on files' sizes stands in for it in tests/cli")
@pytest.mark.parametrize("room", [5, 30, 60, 90])
def test_a_disk_that_fills_up_loses_no_earlier_checkpoint(room, data, tmp_path):
    """A real file system of so many MiB; the run goes on from its checkpoint where there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not is_root_with_mounts(disk):
        pytest.skip("needs root, to mount a small file system")
    try:
        subprocess.run(["mount", "-o", f"remount,size={room}m", disk], check=True)
        whole = start("fit", data, "-k", "4", "--out", tmp_path / "whole", *short("dec"))
        assert whole.wait() == 0
        arguments = ["fit", data, "-k", "4", "--out", disk / "run", *short("dec")]
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, env=ENVIRONMENT
        )
        assert done.returncode == 6, done.stderr
        assert "Traceback" not in done.stderr
        assert not list(disk.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        if (disk / "run").exists():
            arguments = ["fit", "--resume", disk / "run"]
        assert start(*arguments).wait() == 0
        assert labels(disk / "run") == labels(tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)
