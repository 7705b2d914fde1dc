"""Several processes compute what one computes, and lose nothing when one of them is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tests.common.processes import ENVIRONMENT, PROGRAM, groups, labels, noise, start
from tests.common.ranks import CASES

from deepclust import together
from deepclust.errors import DeepclustError, InvalidParameterError

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
QUICK = ["-p", "pretrain__epochs=12", "--epochs", "12", "-p", "trainer__checkpoint_seconds=0.1"]
EXACT = ["-p", 'trainer__precision="fp32"']


def torchrun(*arguments, **options):
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*TORCHRUN, "-m", *map(str, arguments)], env=environment, **options)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Every case in double precision, in one process and in two."""
    folder = tmp_path_factory.mktemp("outcomes")
    one, two = folder / "one.pt", folder / "two.pt"
    subprocess.run([sys.executable, "-m", "tests.common.ranks", one, "double"], check=True, env=ENVIRONMENT)
    assert torchrun("tests.common.ranks", two, "double").wait() == 0
    return torch.load(one), torch.load(two)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_compute_what_one_does(case, outcomes):
    one, two = (found[case] for found in outcomes)
    assert one["gradients"].keys() == two["gradients"].keys()
    for phase, gradients in one["gradients"].items():
        assert gradients.keys() == two["gradients"][phase].keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(
                two["gradients"][phase][name], gradient, rtol=1e-6, atol=1e-6, msg=f"{phase}, {name}"
            )
    assert (one["labels"] == two["labels"]).double().mean() >= 0.999
    assert len(one["history"]) == len(two["history"])
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert ours.keys() == theirs.keys()
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-6)


def test_of_two_processes_one_writes_and_both_end_well(tmp_path):
    data, out = groups(tmp_path), tmp_path / "run"
    process = torchrun(
        "tests.common.command", "fit", data, "-k", "4", "--out", out, *QUICK, *EXACT, stderr=subprocess.PIPE
    )
    said = process.communicate()[1].decode()
    assert process.returncode == 0, said
    again = torchrun("tests.common.command", "fit", "--resume", out, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert again.communicate()[0].decode().count("report: ") == 1, "a finished run is told once"
    assert start("fit", data, "-k", "4", "--out", tmp_path / "alone", *QUICK, *EXACT).wait() == 0
    assert labels(out) == labels(tmp_path / "alone")
    assert (out / "report.html").is_file()
    assert not (out / "checkpoint").exists()


def test_a_killed_process_ends_the_run_with_a_message_and_a_checkpoint(tmp_path):
    data, out = noise(tmp_path), tmp_path / "run"
    arguments = ["fit", data, "-k", "4", "--out", out, "-p", "pretrain__epochs=3000", *QUICK[2:], *EXACT]
    process = torchrun("tests.common.command", *arguments, stderr=subprocess.PIPE)
    while not (out / "checkpoint" / "progress.safetensors").exists() and process.poll() is None:
        time.sleep(0.05)
    os.kill(second_of(process.pid), signal.SIGKILL)
    said = " ".join(process.communicate()[1].decode().split())
    assert process.returncode != 0
    assert f"deepclust fit --resume {out}" in said, said
    assert (out / "checkpoint" / "progress.safetensors").exists()
    # Any number of processes goes on from it: it writes a checkpoint of its own, and stops as it is asked to.
    progress = out / "checkpoint" / "progress.safetensors"
    one = start("fit", "--resume", out)
    assert goes_on(one, progress)
    one.send_signal(signal.SIGTERM)
    assert one.wait() == 130
    two = torchrun("tests.common.command", "fit", "--resume", out)
    assert goes_on(two, progress)
    two.send_signal(signal.SIGTERM)
    assert two.wait() != 0, "the launcher has a code of its own"
    assert not list(tmp_path.rglob("*.part"))


def goes_on(process, progress):
    """Wait until a process has written a checkpoint, or has ended."""
    before = progress.stat().st_mtime_ns
    while process.poll() is None and progress.stat().st_mtime_ns == before:
        time.sleep(0.05)
    return process.poll() is None


def second_of(launcher):
    """The process that torchrun gave the number 1."""
    for folder in os.listdir("/proc"):
        if folder.isdigit():
            try:
                with open(f"/proc/{folder}/environ", "rb") as file:
                    environment = file.read().split(b"\0")
                with open(f"/proc/{folder}/stat", "rb") as file:
                    parent = int(file.read().rsplit(b")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == launcher and b"RANK=1" in environment:
                return int(folder)
    raise AssertionError("torchrun has no second process")


def test_only_fit_runs_in_several_processes(tmp_path):
    done = subprocess.run(
        [*PROGRAM, "predict", "run", "rows.npy"],
        env={**ENVIRONMENT, "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "fit alone runs in several processes" in done.stderr


SCRIPT = """
import sys
import numpy as np
from deepclust import VaDE, MLP, Schedule, Trainer, together
X = np.random.default_rng({seed}).normal(size=(40, 5)).astype(np.float32)
VaDE(2, network=MLP((8,), 2), trainer=Trainer(batch_size={batch}), pretrain=Schedule(epochs=1)).fit(X)
"""


@pytest.mark.parametrize(
    ("seed", "batch", "sentence"),
    [
        ("int(__import__('os').environ['RANK'])", 20, "has other rows than the first"),
        ("0", 1, "A step has 1 rows, fewer than the run has processes (2)"),
    ],
)
def test_processes_that_cannot_work_together_say_so(seed, batch, sentence, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(seed=seed, batch=batch))
    done = subprocess.run(
        [*TORCHRUN, tmp_path / "script.py"], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    assert sentence in done.stderr


def test_in_one_process_everything_is_the_identity():
    x = torch.arange(6.0).view(3, 2)
    share = together.share_of(3)
    assert (share.start, share.stop, share.total, share.weight) == (0, 3, 3, 1.0)
    with together.step_of(share):
        assert together.gathered(x) is x
        assert together.own(x) is x
    assert together.from_first(lambda: 7) == 7
    together.same_everywhere("a", "rows")
    assert together.is_first()


def test_rows_are_shared_without_a_gap(monkeypatch):
    for processes in (2, 3, 7):
        monkeypatch.setattr(together, "world_size", lambda p=processes: p)
        for total in (7, 20, 225):
            shares = []
            for place in range(processes):
                monkeypatch.setattr(together, "rank", lambda r=place: r)
                shares.append(together.share_of(total))
            ends = [0, *(share.stop for share in shares)]
            assert [share.start for share in shares] == ends[:-1]
            assert ends[-1] == total
            assert sum(share.weight for share in shares) == pytest.approx(processes)


def test_a_step_with_fewer_rows_than_processes_is_refused(monkeypatch):
    share = together.Share(0, (1, 0))
    with pytest.raises(InvalidParameterError, match="fewer than the run has processes"), together.step_of(share):
        pass


def test_another_processes_end_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setattr(together, "world_size", lambda: 2)
    with pytest.raises(DeepclustError, match="Another process of the run has ended"), together.lost_processes_named():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), together.lost_processes_named():
        raise RuntimeError("shapes differ")
