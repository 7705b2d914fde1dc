"""kill -9 at random moments, in real processes: untouched, or resumable to the same labels."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.common.processes import ENVIRONMENT, PROGRAM, labels, noise, start

from deepclust.runs import Request, create_run

QUICK = [
    "-p",
    "pretrain__epochs=12",
    "--epochs",
    "12",
    "-p",
    "trainer__checkpoint_seconds=0.1",
    "-p",
    'trainer__precision="fp32"',
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return noise(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert start("fit", data, "-k", "4", "--out", out, *QUICK).wait() == 0
    return labels(out)


@pytest.mark.parametrize("seed", range(3))
def test_killed_run_resumes_to_the_same_labels(seed, data, whole, tmp_path):
    out, rng = tmp_path / "run", np.random.default_rng(seed)
    arguments = ["fit", data, "-k", "4", "--out", out, *QUICK]
    for _ in range(4):
        process = start(*arguments)
        time.sleep(float(rng.uniform(1.5, 6.0)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.exists():
            arguments = ["fit", "--resume", out]
    assert start(*arguments).wait() == 0
    assert labels(out) == whole
    assert not list(tmp_path.glob("**/*.part"))[1:], "at most what the last kill cut short"


def test_a_kill_while_the_folder_is_made_leaves_one_part(data, tmp_path, monkeypatch):
    seen = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(list(tmp_path.rglob("*.part"))), fsync(file)))
    create_run(tmp_path / "run", Request(source=str(data), method="vade", n_clusters=4))
    assert [len(parts) for parts in seen] == [1]
    assert not list(tmp_path.rglob("*.part"))


def test_first_signal_stops_with_a_checkpoint_and_a_message(data, whole, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*PROGRAM, "fit", str(data), "-k", "4", "--out", str(out), *QUICK],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    while not (out / "checkpoint").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130
    assert f"deepclust fit --resume {out}" in " ".join(said.split())
    assert start("fit", "--resume", out).wait() == 0
    assert labels(out) == whole


@pytest.mark.parametrize("room", [2_000, 60_000, 300_000])
def test_full_disk_ends_in_one_sentence_and_keeps_what_was_written(room, data, whole, tmp_path):
    """The limit on a file's size makes real writes fail, as a full disk does."""
    out = tmp_path / "run"
    arguments = [*PROGRAM, "fit", str(data), "-k", "4", "--out", str(out), *QUICK]
    limit = f"import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", limit, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    arguments = ["fit", "--resume", out] if out.exists() else arguments[len(PROGRAM) :]
    assert start(*arguments).wait() == 0
    assert labels(out) == whole
