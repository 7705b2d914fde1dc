"""Codes and rows side by side."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from deepclust import accuracy
from deepclust.data.rows import as_rows
from deepclust.engine.inference import map_rows
from deepclust.guidance import _view, find_partition
from deepclust.partition import principal_view, side_by_side


def test_view_is_the_projection_of_centred_rows_of_unit_length():
    x = torch.randn(200, 9, generator=torch.Generator().manual_seed(0)) + 3
    unit = x - x.mean(0)
    unit = (unit / unit.norm(dim=1, keepdim=True)).double().numpy()
    expected = unit @ PCA(4).fit(unit).components_.T
    np.testing.assert_allclose(principal_view(x, seed=0, components=4).coordinates(x), expected, atol=1e-5)


def test_mean_rows_and_fewer_rows_than_components_are_no_trouble():
    x = torch.cat([torch.eye(3), torch.full((2, 3), 1 / 3)])  # the last two are the mean: they have no direction
    assert torch.isfinite(principal_view(x, seed=0).coordinates(x)).all()
    assert principal_view(torch.randn(3, 6), seed=0).axes.shape == (6, 3)


def test_views_count_alike_whatever_their_scale_and_place():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 3, generator=g), torch.randn(50, 7, generator=g)
    joined = side_by_side(a, b)
    assert joined.shape == (50, 10)
    assert joined[:, :3].square().mean(0).sum() == pytest.approx(1)
    assert joined[:, 3:].square().mean(0).sum() == pytest.approx(1)
    torch.testing.assert_close(side_by_side(1000 * a - 5, b), joined)
    assert torch.isfinite(side_by_side(torch.ones(5, 2), b[:5])).all()


def rows_of(x, scaler):
    events = []
    note = lambda kind, **details: events.append(kind)  # noqa: E731
    return SimpleNamespace(rows=as_rows(x.numpy()), scaler=scaler, seed=0, note=note, events=events)


def lit(rng, persons=12, lightings=10):
    """Faces of one kind, lit in many ways: what differs is little beside the brightness."""
    faces = 1 + 0.2 * torch.from_numpy(rng.random((persons, 4, 4)))
    light = torch.from_numpy(rng.uniform(0.1, 1.0, (persons, lightings, 1, 1)))
    x = (faces[:, None] * light).flatten(0, 1).float()
    x[0, 0, 0] = 0.0  # black is what the darkest value is
    return x


def test_images_are_seen_from_black_where_that_makes_more_neighbours_mutual(digits):
    x = lit(np.random.default_rng(0))
    distances = []
    for scaler in (torch.nn.Identity(), lambda x: 2 * x - 1):
        session = rows_of(x, scaler)
        seen = _view(session, 12).coordinates(scaler(x)).double()
        assert session.events == ["images seen from black"]
        distances.append(torch.cdist(seen, seen))
    torch.testing.assert_close(*distances, atol=1e-4, rtol=0)
    rows = torch.from_numpy(digits[0][:500] / 16).float()
    session = rows_of(rows, torch.nn.Identity())
    torch.testing.assert_close(_view(session, 10).origin, rows.flatten(1).mean(0))
    assert session.events == []


def test_flat_rows_are_seen_from_their_mean():
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) + 5
    torch.testing.assert_close(_view(rows_of(x, torch.nn.Identity()), 3).origin, x.mean(0))


@pytest.mark.parametrize("start", ["linkage", "linkage+rows"])
def test_start_can_see_what_the_codes_have_lost(start):
    """Where codes know one half of the groups and rows know all, only the second start finds the four."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 4
    X = rng.normal(size=(240, 6)).astype(np.float32) * 0.3
    X[:, 0] += 4 * (y % 2)
    X[:, 1] += 4 * (y // 2)
    rows, scaler = as_rows(X), torch.nn.Identity()
    model = torch.nn.Identity()
    session = SimpleNamespace(rows=rows, scaler=scaler, seed=0, map=lambda fn, model: map_rows(fn, rows, scaler, model))
    codes = torch.from_numpy(X[:, :1])
    labels = find_partition(session, model, codes, 4, start)
    right = accuracy(y, labels.numpy())
    assert right > 0.95 if "rows" in start else right < 0.8
