"""Rows to pretrain on: the first phase sees them alone, all that follows sees the rows to cluster."""

import numpy as np
import pytest
import torch

from deepclust import JULE, VaDE
from deepclust.engine.session import Session
from deepclust.errors import CheckpointError, InvalidDataError, NotSupportedError
from tests.common.small import DEEP, small


@pytest.fixture(scope="module")
def both():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 16)
    centres = rng.normal(0, 4, (4, 6))
    return centres[y] + rng.normal(0, 0.3, (64, 6)), centres[y][::-1] + rng.normal(0, 0.4, (64, 6))


@pytest.mark.parametrize("name", [name for name in DEEP if name != "jule"])
def test_first_phase_alone_sees_other_rows(name, both, monkeypatch):
    X, others = both
    seen, step = {}, Session._step

    def spy(self, module, optimizer, phase, read, *rest):
        rows = {tuple(row) for row in read.x.double().numpy().round(4).tolist()}
        seen.setdefault(phase.name, set()).update(rows)
        return step(self, module, optimizer, phase, read, *rest)

    monkeypatch.setattr(Session, "_step", spy)
    model = small(name, epochs=2).fit(X, pretrain_on=others[:48])
    ours, theirs = ({tuple(row) for row in rows.round(4).tolist()} for rows in (X, others[:48]))
    first, *later = seen
    assert first.startswith(("pretrain", "layer"))
    assert seen[first] == theirs
    assert later or name == "two_stage"
    assert all(seen[phase] <= ours for phase in later)
    assert len(model.labels_) == 64
    assert model.result_.provenance["pretrain_data_sha256"] != model.result_.provenance["data_sha256"]


def test_rows_themselves_give_the_same_as_none(both):
    X, others = both
    plain, same, other = (
        small("vade", epochs=2).fit(X, pretrain_on=rows).result_.embedding for rows in (None, X.copy(), others)
    )
    np.testing.assert_array_equal(plain, same)
    assert not np.allclose(plain, other)


def test_networks_know_the_range_of_both():
    rng = np.random.default_rng(0)
    dark, bright = rng.random((40, 8, 8)) / 2, rng.random((40, 8, 8)) * 2
    scaled = small("vade", epochs=1, network="auto", likelihood="bernoulli").fit(dark, pretrain_on=bright).scaler_
    assert 0.5 < float(scaled(torch.from_numpy(bright)).max()) <= 1
    assert float(scaled(torch.from_numpy(dark)).max()) < 0.3


def test_checkpoint_is_of_these_rows_and_a_cache_knows_them(both, tmp_path):
    X, others = both
    kept = {"trainer__checkpoint_dir": str(tmp_path / "run"), "trainer__cache_dir": str(tmp_path / "cache")}
    first = small("vade", epochs=2).set_params(**kept).fit(X, pretrain_on=others)
    with pytest.raises(CheckpointError, match="pretrain_data"):
        small("vade", epochs=2).set_params(**kept).fit(X)
    kept["trainer__checkpoint_dir"] = None
    assert not small("vade", epochs=2).set_params(**kept).fit(X).result_.events
    again = small("vade", epochs=2).set_params(**kept).fit(X, pretrain_on=others)
    assert "taken over" in [event["kind"] for event in again.result_.events]
    np.testing.assert_array_equal(again.labels_, first.labels_)


def test_wrong_rows_and_methods_without_pretraining_are_refused(both):
    X, others = both
    with pytest.raises(
        InvalidDataError, match=r"cannot pretrain on rows of shape \(3,\) to cluster rows of shape \(6,"
    ):
        VaDE(4).fit(X, pretrain_on=others[:, :3])
    with pytest.raises(InvalidDataError, match="The pretraining of VaDE"):
        VaDE(4).fit(X, pretrain_on=np.where(others > 1, np.nan, others))
    bytes_ = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    with pytest.raises(InvalidDataError, match=r"images of fractions from 0 to .* images of integers .* same units"):
        VaDE(4).fit(bytes_, pretrain_on=bytes_ / 255)
    with pytest.raises(NotSupportedError, match="no pretraining with these parameters"):
        JULE(4).fit(X, pretrain_on=others)
