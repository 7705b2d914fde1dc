"""A run that is killed at any moment goes on to the very labels of the uninterrupted one."""

import numpy as np
import pytest
import torch
from tests.common.small import DEEP, small

from deepclust import Callback
from deepclust.engine.checkpoint import read_tree, write_tree
from deepclust.errors import CheckpointError, DeepclustError, DivergenceError, InterruptedRun


class CrashError(Exception):
    """Stands for the end of the process."""


class CrashAt(Callback):
    """Ends the process, as seen from the session, after a number of steps."""

    def __init__(self, steps):
        self.left = steps

    def on_step(self, session, phase, progress):
        self.left -= 1
        if self.left < 0:
            raise CrashError


class StopAt(Callback):
    def __init__(self, steps):
        self.left = steps

    def on_step(self, session, phase, progress):
        self.left -= 1
        if self.left < 0:
            session.ask_to_stop()


def make(name, folder=None, callbacks=(), **params):
    model = small(name, epochs=4, **params)
    trainer = model.trainer(checkpoint_dir=folder, checkpoint_seconds=0.0, callbacks=callbacks)
    return model.set_params(trainer=trainer)


def run_with_crashes(name, X, folder, steps, **params):
    """Fit in as many processes as it takes, each of which gets this many steps further."""
    for crashes in range(100):
        try:
            return make(name, folder, (CrashAt(steps),), **params).fit(X), crashes
        except CrashError:
            pass
    raise AssertionError("the run never ended")


def same(a, b):
    assert (a.result_.proba == b.result_.proba).all()
    assert (a.result_.embedding == b.result_.embedding).all()
    assert (a.labels_ == b.labels_).all()
    if a.result_.start_labels is not None:
        assert (a.result_.start_labels == b.result_.start_labels).all()
    drop = {"seconds"}
    for left, right in zip(a.result_.history, b.result_.history, strict=True):
        assert {k: v for k, v in left.items() if k not in drop} == {k: v for k, v in right.items() if k not in drop}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("steps", [3, 7, 18])
def test_resumed_run_is_the_uninterrupted_one_bit_for_bit(name, steps, blobs, tmp_path):
    X, _ = blobs
    resumed, crashes = run_with_crashes(name, X, tmp_path, steps)
    assert crashes >= 1
    same(make(name).fit(X), resumed)


@pytest.mark.parametrize("name", ["depict", "dual_autoencoder", "jule", "spectralnet"])
def test_resumed_run_of_convolutions_is_the_uninterrupted_one(name, tmp_path):
    # Of several layers: with one, channels first and channels last are the same order in memory.
    rng = np.random.default_rng(0)
    X = np.clip(rng.random((3, 1, 16, 16)).repeat(20, axis=0) + rng.normal(0, 0.05, (60, 1, 16, 16)), 0, 1)
    X = X.astype(np.float32)
    resumed, crashes = run_with_crashes(name, X, tmp_path, 7, network="auto")
    assert crashes >= 1
    same(make(name, network="auto").fit(X), resumed)


@pytest.mark.parametrize("name", DEEP)
def test_resume_between_phases_and_in_restarts(name, blobs, tmp_path):
    X, _ = blobs
    resumed, crashes = run_with_crashes(name, X, tmp_path, 11, n_init=2)
    assert crashes >= 1
    same(make(name, n_init=2).fit(X), resumed)


@pytest.mark.parametrize("name", DEEP)
def test_a_finished_fit_is_replayed_without_a_step(name, blobs, tmp_path):
    X, _ = blobs
    first = make(name, tmp_path).fit(X)
    same(first, make(name, tmp_path, (CrashAt(0),)).fit(X))


def test_a_stop_writes_a_checkpoint_and_says_so(blobs, tmp_path):
    X, _ = blobs
    with pytest.raises(InterruptedRun):
        make("vade", tmp_path, (StopAt(5),)).fit(X)
    assert (tmp_path / "progress.safetensors").exists()
    same(make("vade").fit(X), make("vade", tmp_path).fit(X))


def test_checkpoint_of_another_run_is_refused_by_what_differs(blobs, tmp_path):
    X, _ = blobs
    make("vade", tmp_path).fit(X)
    with pytest.raises(CheckpointError, match="seed is 0, not 1"):
        make("vade", tmp_path).set_params(random_state=1).fit(X)
    with pytest.raises(CheckpointError, match="data"):
        make("vade", tmp_path).fit(X + 1)
    with pytest.raises(CheckpointError, match="parameters"):
        make("vade", tmp_path, posterior="sampled").fit(X)


def test_broken_checkpoint_is_refused(blobs, tmp_path):
    X, _ = blobs
    make("vade", tmp_path).fit(X)
    file = tmp_path / "boundary.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="corrupted"):
        make("vade", tmp_path).fit(X)
    file.write_bytes(content[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        make("vade", tmp_path).fit(X)


def test_a_failed_write_loses_no_earlier_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    write_tree(path, {"a": torch.ones(3)})
    monkeypatch.setattr("deepclust.tensorfile.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_tree(path, {"a": torch.zeros(3)})
    assert torch.equal(read_tree(path)["a"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def full_disk(tensors, path, metadata):
    path.write_bytes(b"half")
    raise OSError(28, "No space left on device")


def test_trees_come_back_as_they_were(tmp_path):
    tree = {
        "tensor": torch.arange(6).reshape(2, 3),
        "empty": torch.from_numpy(np.empty(0)),
        "array": np.array([1.5, 2.5]),
        "tuple": (1, None, "x"),
        3: [True, 0.1, {"empty": torch.empty(0)}],
    }
    write_tree(tmp_path / "t", tree)
    back = read_tree(tmp_path / "t")
    assert torch.equal(back["tensor"], tree["tensor"])
    assert back["empty"].shape == (0,)
    assert (back["array"] == tree["array"]).all()
    assert back["tuple"] == tree["tuple"]
    assert back[3][:2] == [True, 0.1]
    assert read_tree(tmp_path / "absent") is None
    with pytest.raises(CheckpointError, match="cannot hold"):
        write_tree(tmp_path / "t", {"model": object()})


def test_time_limit_ends_with_a_result_and_an_event(blobs):
    model = small("vade", epochs=100_000).set_params(trainer__max_seconds=1.0).fit(blobs[0])
    assert any(event["kind"] == "time limit" for event in model.result_.events)
    assert model.labels_.shape == (150,)
    assert {line["phase"] for line in model.result_.history} == {"pretrain", "cluster"}


def test_divergence_names_phase_term_and_cure(blobs):
    model = small("vade", epochs=50).set_params(pretrain__lr=1e30, pretrain__optimizer="sgd")
    with pytest.raises(DivergenceError, match=r"Phase 'pretrain' diverged at epoch \d+: term 'reconstruction'.*Lower"):
        model.fit(blobs[0])


def test_a_phase_that_trains_nothing_is_refused(blobs):
    from deepclust.engine import Phase, Schedule

    phase = Phase("empty", torch.nn.Linear(1, 1), lambda m, b: {}, Schedule(), trains=[])
    with pytest.raises(DeepclustError, match="trains no parameter"):
        phase.groups()
