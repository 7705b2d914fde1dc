"""Schedules and orders are functions of place."""

import numpy as np
import pytest
import torch

from deepclust import JULE, Budget, Cosine, Decay, Schedule, VaDE
from deepclust.engine.phase import permutation
from deepclust.engine.seeds import derive_seed
from deepclust.errors import InvalidParameterError


def test_paper_schedule_of_vade_decays_every_ten_epochs_down_to_its_floor():
    schedule = VaDE.preset("paper", data="mnist").schedule
    rate = [schedule.rate(epoch, 0, 1) for epoch in range(3000)]
    assert rate[0] == rate[9] == pytest.approx(0.002)
    assert rate[10] == pytest.approx(0.0018)
    assert rate[219] > 2e-4
    assert rate[220] == rate[2999] == pytest.approx(2e-4)
    assert schedule.batch_size == 100
    assert schedule.eps == 1e-4


def test_cosine_falls_from_the_rate_to_its_floor_and_warmup_rises():
    schedule = Schedule(lr=1.0, decay=Cosine(floor=0.1), warmup=4)
    assert schedule.rate(0, 0, 100) == pytest.approx(0.25)
    plain = Schedule(lr=1.0, decay=Cosine(floor=0.1))
    assert plain.rate(0, 0, 100) == pytest.approx(1.0)
    assert plain.rate(0, 100, 100) == pytest.approx(0.1)
    assert Decay(factor=0.5, every=1).rate(1.0, 3, 0, 1) == 0.125


def test_paper_schedule_of_jule_falls_as_a_power_of_the_steps():
    schedule = JULE.preset("paper", data="mnist").schedule
    assert schedule.rate(0, 0, 100) == pytest.approx(0.01)
    assert schedule.rate(7, 10_000, 20_000) == pytest.approx(0.01 * 2**-0.75)


@pytest.mark.parametrize(("per_epoch", "epochs"), [(1, 4000), (8, 500), (40, 100), (1000, 40), (10_000, 4), (10**6, 1)])
def test_budget_counts_steps_within_its_bounds(per_epoch, epochs):
    assert Budget(passes=40, least_steps=4000, most_steps=40_000).epochs(per_epoch) == epochs


@pytest.mark.parametrize(("n", "batch", "steps"), [(10, 3, 4), (1797, 256, 8), (7, 100, 1), (10, 5, 7)])
def test_order_visits_every_row_once_a_pass_in_even_batches(n, batch, steps):
    batches = list(permutation(n, batch, steps, torch.Generator().manual_seed(0)))
    assert len(batches) == steps
    per_pass = -(-n // batch)
    if steps >= per_pass:
        assert sorted(torch.cat(batches[:per_pass]).tolist()) == list(range(n))
    sizes = [len(b) for b in batches]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_seeds_of_places_differ_and_repeat():
    places = [derive_seed(s, p, e) for s in range(3) for p in ("a", "b") for e in range(50)]
    assert len(set(places)) == len(places)
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2)
    assert all(0 <= p < 2**63 for p in places)


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0), ("lr", "fast"), ("epochs", 0), ("optimizer", "lion"), ("momentum", 1.0), ("lr", np.nan)],
)
def test_bad_schedules_are_refused_at_once(field, value):
    with pytest.raises(InvalidParameterError, match=f"'{field}' parameter of Schedule"):
        Schedule(**{field: value})
