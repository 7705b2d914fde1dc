"""Training that goes wrong is brought back, the same in a resumed run; where nothing helps, the error says why."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.common.small import small
from tests.engine.test_resume import CrashAt, CrashError, same

from deepclust import DEC, VaDE
from deepclust.engine import Healing, Schedule
from deepclust.engine.callbacks import Callback
from deepclust.engine.session import Session
from deepclust.errors import DivergenceError


class Spoil(Callback):
    """Does something to the model once, after so many steps of a phase."""

    def __init__(self, phase, steps, how):
        self.phase, self.left, self.how = phase, steps, how

    def on_step(self, session, phase, progress):
        if phase.name == self.phase:
            self.left -= 1
            if self.left == 0:
                with torch.no_grad():
                    self.how(phase.model)


def poison(model):
    next(model.network.parameters()).fill_(float("nan"))


def make(name, callbacks=(), folder=None, **params):
    model = small(name, epochs=6, **params)
    return model.set_params(
        trainer=model.trainer(callbacks=tuple(callbacks), checkpoint_dir=folder, checkpoint_seconds=0.0)
    )


def kinds(model):
    return [event["kind"] for event in model.result_.events]


def test_without_trouble_nothing_is_changed(blobs):
    X, _ = blobs
    healthy = make("vade").fit(X)
    assert kinds(healthy) == []
    off = {"pretrain__healing": None, "schedule__healing": None}
    same(healthy, make("vade").set_params(**off).fit(X))


@pytest.mark.parametrize("phase", ["pretrain", "cluster"])
def test_not_finite_goes_back_to_the_last_good_epoch_at_a_lower_rate(phase, blobs):
    X, _ = blobs
    model = make("vade", [Spoil(phase, 8, poison)]).fit(X)
    assert kinds(model) == ["diverged"]
    event = model.result_.events[0]
    assert event["phase"] == phase
    assert event["rate"] == 0.5
    assert event["back_to"] <= event["epoch"]
    lines = [line for line in model.result_.history if line["phase"] == phase]
    assert [line["epoch"] for line in lines] == list(range(6)), "one line an epoch, those gone back on left out"
    healthy = [line["lr"] for line in make("vade").fit(X).result_.history if line["phase"] == phase]
    slowed = [line["lr"] for line in lines]
    assert slowed[-1] == pytest.approx(0.5 * healthy[-1])
    assert np.isfinite(model.result_.proba).all()


def test_a_loss_that_explodes_counts_as_divergence(blobs):
    def push(model):
        for parameter in model.network.parameters():
            parameter.mul_(30.0)

    model = make("vade", [Spoil("pretrain", 8, push)]).fit(blobs[0])
    assert kinds(model) == ["diverged"]
    assert "the loss is" in model.result_.events[0]["what"]
    blunt = {"pretrain__healing": Healing(explosion=1e30)}
    assert kinds(make("vade", [Spoil("pretrain", 8, push)], start="kmeans").set_params(**blunt).fit(blobs[0])) == []


def test_going_back_resumes_exactly(blobs, tmp_path):
    X, _ = blobs
    whole = make("vade", [Spoil("cluster", 8, poison)]).fit(X)
    # The second process is killed after the return; it must know the rate and how often it went back.
    spoil = Spoil("cluster", 8, poison)
    crashes, resumed = 0, None
    while resumed is None:
        try:
            resumed = make("vade", [spoil, CrashAt(9)], tmp_path).fit(X)
        except CrashError:
            crashes += 1
        assert crashes < 40
    assert crashes > 2
    assert kinds(resumed) == ["diverged"]
    same(whole, resumed)


def test_it_gives_up_with_cause_and_cure(blobs):
    class Always(Callback):
        def on_step(self, session, phase, progress):
            with torch.no_grad():
                poison(phase.model)

    model = make("vade", [Always()])
    with pytest.raises(DivergenceError, match=r"diverged at epoch \d+: .*5 returns .* did not help.*Lower the phase's"):
        model.fit(blobs[0])
    strict = make("vade", [Spoil("pretrain", 3, poison)]).set_params(pretrain__healing=None)
    with pytest.raises(DivergenceError, match="Phase 'pretrain' diverged at epoch") as caught:
        strict.fit(blobs[0])
    assert "returns" not in str(caught.value)


def away(model):
    """Send a cluster where no row is."""
    centers = model.centers if hasattr(model, "centers") else model.mixture.means
    centers[0] = 1e3


@pytest.mark.parametrize("name", ["dec", "vade"])
def test_an_empty_cluster_gets_a_place_again(name, blobs):
    X, _ = blobs
    model = make(name, [Spoil("cluster", 3, away)]).fit(X)
    events = [event for event in model.result_.events if event["kind"] == "empty cluster placed anew"]
    assert [event["cluster"] for event in events] == [0]
    assert model.result_.sizes[0] > 0
    left = make(name, [Spoil("cluster", 3, away)]).set_params(schedule__healing=Healing(reseed=False)).fit(X)
    assert "empty cluster placed anew" not in kinds(left)
    assert left.result_.sizes[0] == 0, "without it the cluster stays empty: the test can fail"


def test_a_cluster_that_swallows_the_others_is_undone_and_told(blobs):
    def swallow(model):
        model.centers[1:] += 1e3

    X, _ = blobs
    model = make("dec", [Spoil("cluster", 3, swallow)]).fit(X)
    event = model.result_.events[0]
    assert event["kind"] == "one cluster dominates"
    assert "100 % of the rows" in event["what"]
    assert model.result_.sizes.max() < 0.9 * len(X)


def test_it_is_undone_where_a_time_limit_comes_before_the_next_look(blobs, monkeypatch):
    def swallow(model):
        model.centers[1:] += 1e3

    X, _ = blobs
    spoil = Spoil("cluster", 3, swallow)
    model = make("dec", [spoil]).set_params(schedule__epochs=100)
    monkeypatch.setattr(Session, "_out_of_time", lambda self, phase: spoil.left <= 0)
    model.fit(X)
    assert kinds(model) == ["one cluster dominates", "time limit"]
    assert model.result_.sizes.max() < 0.9 * len(X)


def test_no_cluster_is_placed_anew_where_no_training_follows(blobs, monkeypatch):
    spoil = Spoil("cluster", 3, away)
    model = make("dec", [spoil]).set_params(schedule__epochs=100)
    monkeypatch.setattr(Session, "_out_of_time", lambda self, phase: spoil.left <= 0)
    model.fit(blobs[0])
    assert kinds(model) == ["time limit"]
    assert model.result_.sizes[0] == 0


def blank(model):
    """Leave a decoder through which nothing passes, neither codes nor gradients."""
    for parameter in model.network.autoencoder.decoder.parameters():
        parameter.zero_()


def test_an_auto_encoder_that_went_blank_begins_again(blobs):
    X, _ = blobs
    steps = -(-len(X) // 32)
    model = make("vade", [Spoil("pretrain", 2 * steps, blank)]).fit(X)
    event = model.result_.events[0]
    assert (event["kind"], event["phase"], event["epoch"], event["back_to"]) == (
        "nothing is reconstructed",
        "pretrain",
        1,
        1,
    )
    healed = np.ptp(model.reconstruct(X), axis=0).max()
    left = make("vade", [Spoil("pretrain", 2 * steps, blank)]).set_params(pretrain__healing=None).fit(X)
    assert np.ptp(left.reconstruct(X), axis=0).max() < 0.2 * healed, "without it little is left: the test can fail"


def test_an_auto_encoder_that_stays_blank_is_told(blobs):
    class Always(Callback):
        def on_step(self, session, phase, progress):
            if phase.name == "pretrain":
                with torch.no_grad():
                    blank(phase.model)

    model = make("vade", [Always()]).fit(blobs[0])
    assert kinds(model) == ["nothing is reconstructed"] * 4
    assert "back_to" not in model.result_.events[-1]


def test_published_procedures_have_none():
    for method in (DEC, VaDE):
        for value in method.preset("paper").get_params(deep=False).values():
            parts = [value, *vars(value).values()] if dataclasses.is_dataclass(value) else []
            for part in parts:
                if isinstance(part, Schedule):
                    assert part.healing is None
    assert VaDE().schedule.healing == Healing()


def test_clusters_that_run_into_one_another_are_told(blobs):
    def join(model):  # two are left: none of them has nine tenths
        model.centers[1:-1] += 1e3

    X, _ = blobs
    model = make("dec", [Spoil("cluster", 5, join)]).set_params(schedule__healing=Healing(reseed=False)).fit(X)
    (event,) = (event for event in model.result_.events if event["kind"] == "clusters run together")
    assert event["before"] > 2.5 > event["after"] > 1.0
    assert "clusters run together" not in kinds(make("dec").fit(X)), "the test can fail"
