"""DEC, IDEC, DEPICT: targets of all rows, refreshed, held at first, and a rule for the end."""

import numpy as np
import pytest
import torch

from deepclust import DEC, DEPICT, IDEC, MLP, Pathways, Refresh, Schedule, Stacked, Strided, Trainer, accuracy
from deepclust.data.batch import Batch, Progress
from deepclust.data.rows import Spec
from deepclust.engine.callbacks import Callback
from deepclust.methods.dec import EmbeddedModel
from deepclust.objectives.student import sharpened
from deepclust.targets import Held, Targets

COMMON = {
    "network": MLP(hidden=(32,), latent=4),
    "pretrain": Schedule(epochs=60, batch_size=32),
    "schedule": Schedule(epochs=20, batch_size=32),
    "trainer": Trainer(precision="fp32"),
    "random_state": 0,
}


@pytest.mark.parametrize("method", [DEC, IDEC])
@pytest.mark.parametrize("start", ["linkage", "path", "kmeans"])
def test_groups_are_found_and_the_end_is_noted(method, start, blobs):
    X, y = blobs
    model = method(3, start=start, refresh=Refresh(steps=5), **COMMON).fit(X)
    assert accuracy(y, model.labels_) > 0.98
    assert accuracy(model.result_.start_labels, model.labels_) > 0.98
    event = next(event for event in model.result_.events if event["kind"] == "settled")
    assert event["changed"] < 1e-3
    epochs = [line for line in model.result_.history if line["phase"] == "cluster"]
    assert len(epochs) < 20, "it ended before its schedule"


def test_never_ending_tolerance_runs_the_whole_schedule(blobs):
    model = DEC(3, refresh=Refresh(steps=5, tolerance=0.0), **COMMON).fit(blobs[0])
    assert len([line for line in model.result_.history if line["phase"] == "cluster"]) == 20


def test_start_itself_is_the_target_while_it_is_held(blobs, monkeypatch):
    seen = []
    refresh = Targets.refresh

    def spy(self):
        ended = refresh(self)
        seen.append(self.p.clone())
        return ended

    monkeypatch.setattr(Targets, "refresh", spy)
    DEC(3, hold=0.5, refresh=Refresh(steps=5, tolerance=0.0), **COMMON).fit(blobs[0])
    sure = [bool(((p == 0) | (p == 1)).all()) for p in seen]
    assert sure == [True] * 10 + [False] * 10


def test_targets_are_made_of_all_rows_without_noise(blobs):
    X, _ = blobs
    model = DEC(3, hold=0.0, refresh=Refresh(steps=5), **COMMON).fit(X)
    q = torch.from_numpy(model.result_.proba)
    made = []
    session = type("Session", (), {"map": lambda self, fn, model: q, "note": lambda self, *a, **k: None})()
    targets = Targets(
        session, model.model_, lambda assignments: made.append(assignments) or sharpened(assignments), Refresh()
    )
    assert not targets.refresh(), "there is nothing to compare the first with"
    assert torch.equal(made[0], q)
    batch = Batch(torch.zeros(2, 1), torch.tensor([4, 2]), Progress(0, 1, 0, 1))
    assert torch.equal(targets.of(batch), sharpened(q)[[4, 2]])
    assert targets.refresh(), "nothing has moved"


class Moving:
    """A session in which every refresh finds so many more of 20 rows in the second cluster."""

    def __init__(self, pace, settles_after=1_000):
        self.pace, self.settles_after, self.at, self.told = pace, settles_after, 0, []

    def map(self, fn, model):
        self.at += 1
        moved = self.pace * min(self.at, self.settles_after)
        return torch.tensor([[0.1, 0.9]] * moved + [[0.9, 0.1]] * (20 - moved))

    def note(self, kind, **details):
        self.told.append((kind, details))


class Counter(torch.nn.Module):
    """A model that knows how many epochs it has trained."""

    def __init__(self):
        super().__init__()
        self.register_buffer("epochs", torch.zeros(()))

    assign = None


def refreshed(session, drift=0.25, resumed_at=None, leads=2, first=10, prior=None):
    """Refresh targets before each of ten epochs, two of them held; return which were held, and the model."""
    start = torch.eye(2).repeat_interleave(torch.tensor([first, 20 - first]), 0)
    model, held = Counter(), Held(start, leads, 10, prior)
    made = lambda: Targets(session, model, sharpened, Refresh(tolerance=0.0, drift=drift), held)  # noqa: E731
    targets, was_held = made(), []
    for epoch in range(10):
        if epoch == resumed_at:
            state, targets = targets.state_dict(), made()
            targets.load_state_dict(state)
        assert not targets.refresh()
        was_held.append(torch.equal(targets.p, held.p))
        model.epochs += 1
    return was_held, model


@pytest.mark.parametrize("resumed_at", [None, 1, 5, 9])
def test_partition_that_drifts_goes_back_to_where_it_was_let_go(resumed_at):
    session = Moving(pace=2)
    was_held, model = refreshed(session, resumed_at=resumed_at)
    assert was_held == [True, True, *[False] * 6, True, True], "halfway is the fourth of eight; three later it is seen"
    assert session.told == [("drifted", {"moved": pytest.approx(0.3), "refresh": 9})]
    assert model.epochs == 2 + 2, "it went back to the end of the second epoch, and two followed"


def test_one_that_a_phase_before_has_led_goes_back_to_that_phase():
    session = Moving(pace=2)
    was_held, model = refreshed(session, leads=0)
    assert was_held == [*[False] * 7, *[True] * 3], "halfway is the fifth of ten; three later it is seen"
    assert model.epochs == 3


@pytest.mark.parametrize(("first", "prior", "drifts"), [(10, 0.5, True), (19, 0.5, False), (19, 0.9, True)])
def test_partition_that_comes_nearer_to_the_expected_shares_may_move_on(first, prior, drifts):
    session = Moving(pace=2)  # 16 of 20 rows are in the second cluster when it is seen to move
    was_held, _ = refreshed(session, first=first, prior=torch.tensor([prior, 1 - prior]))
    assert bool(session.told) == drifts
    assert was_held[-1] == drifts


@pytest.mark.parametrize(("session", "drift"), [(Moving(2, settles_after=6), 0.25), (Moving(2), None)])
def test_partition_that_settles_late_or_may_drift_is_left_alone(session, drift):
    was_held, model = refreshed(session, drift)
    assert was_held == [True, True, *[False] * 8]
    assert session.told == []
    assert model.epochs == 10


def test_dec_leaves_its_decoder_behind_and_idec_keeps_it(blobs):
    X, _ = blobs
    plain, improved = (m(3, refresh=Refresh(steps=5), **COMMON).fit(X) for m in (DEC, IDEC))
    assert not hasattr(plain.model_, "decode")
    with pytest.raises(AttributeError, match="DEC has no decoder, so it cannot reconstruct"):
        plain.reconstruct(X)
    assert np.mean((improved.reconstruct(X) - X) ** 2) < 0.5 * X.var()
    assert {"reconstruction", "divergence"} <= improved.result_.history[-1].keys()
    assert isinstance(improved.model_, EmbeddedModel)


def test_refresh_follows_the_number_of_rows():
    assert Refresh().resolved(1_000, 256) == 30
    assert Refresh().resolved(10_000, 256) == 40
    assert Refresh().resolved(70_000, 256) == 140
    assert Refresh().resolved(2_000_000, 256) == 3_907  # half a pass: twice a pass every row is looked at
    assert Refresh(steps=7).resolved(70_000, 256) == 7


def test_paper_presets_are_the_papers():
    dec = DEC.preset("paper", data="mnist")
    assert isinstance(dec.pretrain, Stacked)
    assert (dec.start, dec.hold, dec.refresh.steps, dec.schedule.optimizer) == ("kmeans", 0.0, 160, "sgd")
    assert DEC.preset("paper", data="reuters").refresh.steps == 20
    idec = IDEC.preset("paper", data="usps")
    assert (idec.weight, idec.refresh.steps, idec.schedule.momentum) == (0.1, 30, 0.99)
    depict = DEPICT.preset("code", data="cmu-pie")
    assert depict.network == Strided(latent=68, init="glorot")
    assert depict.pathways == Pathways(hidden=0.1, detach=False)
    assert DEPICT.preset("paper").balance.kind == "paper"
    assert [DEPICT.preset("code", data=d).start for d in ("mnist-test", "usps", "mnist")] == ["path", "path", "kmeans"]


def test_idecs_paper_loss_is_the_mean_squared_error_of_values_between_zero_and_one():
    spec = Spec((784,), 100, 0.0, 255.0)
    idec = IDEC.preset("paper", data="mnist")
    model = idec._build(spec)
    assert idec._scaling(spec) == "unit"
    x, out = torch.rand(3, 784), torch.rand(3, 784, requires_grad=True)
    (ours,) = torch.autograd.grad(model.likelihood.nll(out, x).mean(), out)
    (published,) = torch.autograd.grad((out - x).square().mean(), out)
    torch.testing.assert_close(ours, published)


@pytest.mark.parametrize("kind", ["paper", "code", "exact"])
def test_depict_finds_groups_with_every_target(kind, blobs):
    X, y = blobs
    model = DEPICT(3, settle=Schedule(epochs=30, batch_size=32), **COMMON).set_params(balance__kind=kind).fit(X)
    assert accuracy(y, model.labels_) > 0.98
    assert list(dict.fromkeys(line["phase"] for line in model.result_.history)) == ["pretrain", "settle", "cluster"]


def test_depict_of_images_takes_the_published_network_with_a_code_as_wide_as_there_are_clusters():
    X = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)
    short = Schedule(epochs=1, batch_size=30)
    model = DEPICT(4, pretrain=short, settle=short, schedule=short, random_state=0).set_params(
        trainer__precision="fp32"
    )
    model.fit(X)
    assert model.transform(X).shape == (60, 4)
    assert np.abs(model.transform(X)).max() <= 1
    assert model.reconstruct(X).shape == X.shape


def test_article_variant_trains_from_scratch_on_targets_of_each_batch(digits):
    model = DEPICT.preset("article", random_state=0, network__filters=4, schedule=Schedule(epochs=3, batch_size=100))
    model.fit(digits[0][:300])
    assert {line["phase"] for line in model.result_.history} == {"cluster"}
    assert model.result_.start_labels is None
    decoded = model.reconstruct(digits[0][:5])
    assert decoded.shape == (5, 8, 8)


def test_faults_of_the_article_are_behind_a_flag():
    x = torch.rand(12, 1, 8, 8)
    losses = {}
    for as_written in (False, True):
        method = DEPICT.preset("article", network__filters=2, balance__as_written=as_written)
        torch.manual_seed(0)
        model = method._build(Spec((1, 8, 8), 12, 0.0, 1.0))
        batch = Batch(x, torch.arange(12), Progress(0, 1, 0, 1))
        loss = method._batch_loss(model, batch, torch.full((10,), 0.1))["cross_entropy"]
        p = model.log_assign(model.embed(x)).exp()
        axis = 0 if as_written else 1
        weight = p / p.sum(0).sqrt() if as_written else p / (p.sum(0) / 0.1).sqrt()
        q = weight / weight.sum(axis, keepdim=True)
        expected = -(q * p.log()).sum(1).mean() / (10 if as_written else 1)
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
        losses[as_written] = float(loss.detach())
    assert losses[True] < 0.2 * losses[False]


class Join(Callback):
    """Takes its rows from the second cluster, once, late in the clustering."""

    def on_epoch_end(self, session, phase, record):
        if phase.name == "cluster" and record["epoch"] == 14:
            with torch.no_grad():
                phase.model.softmax.bias[1] -= 1e3


@pytest.mark.parametrize("drift", [0.02, None])
def test_depict_goes_back_to_its_start_where_clusters_do_not_settle(drift, blobs):
    refresh = Refresh(tolerance=0.0, drift=drift)
    model = DEPICT(3, settle=Schedule(epochs=30, batch_size=32), refresh=refresh, **COMMON)
    model.set_params(trainer__callbacks=(Join(),)).fit(blobs[0])
    result = model.result_
    told = {event["kind"] for event in result.events} & {"drifted", "clusters run together"}
    assert told == ({"clusters run together"} if drift is None else {"drifted"})
    agreed = float((result.labels == result.start_labels).mean())
    assert agreed < 0.7 if drift is None else agreed > 0.98
