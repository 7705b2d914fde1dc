"""Thin wrappers keep what they wrap, and survive what it does not."""

import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepclust.errors import MissingExtraError
from deepclust.metrics import accuracy
from deepclust.partition import (
    diagonal_moments,
    gaussian_mixture,
    kmeans,
    manifold_coordinates,
    manifold_labels,
    spectral_labels,
)


@pytest.fixture
def three(blobs):
    X, y = blobs
    return torch.from_numpy(X), y


def test_kmeans_gives_the_nearest_centre(three):
    z, y = three
    found = kmeans(z, 3, seed=0)
    assert accuracy(y, found.labels.numpy()) == 1
    assert (torch.cdist(z.double(), found.centers).argmin(1) == found.labels).all()
    assert found.inertia == pytest.approx(float((z - found.centers[found.labels]).square().sum()), rel=1e-5)


def test_clusters_are_numbered_by_their_first_rows_whatever_the_start(three):
    z, _ = three
    found = [kmeans(z, 3, seed=seed) for seed in range(4)]
    assert all(torch.equal(found[0].labels, other.labels) for other in found)
    assert found[0].labels[0] == 0
    few = kmeans(torch.tensor([[1.0], [0.0], [1.0], [0.0]]), 4, seed=0)
    assert few.labels.tolist() == [0, 1, 0, 1]
    assert few.centers[:2].flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_mixture_fits_in_the_units_of_the_codes(three, covariance):
    z, y = three
    for scale in (1e-6, 1.0, 1e6):
        found = gaussian_mixture(z * scale, 3, seed=0, covariance=covariance)
        assert accuracy(y, found.labels.numpy()) == 1
        assert_close(found.weights.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_mixture_survives_dead_dimensions_and_duplicates(three):
    z = three[0].clone()
    z[:, 5:] = 0
    found = gaussian_mixture(z.repeat(2, 1), 3, seed=0, covariance="full")
    assert (found.covariances.diagonal(dim1=1, dim2=2) > 0).all()


def test_moments_of_a_partition_are_those_of_its_clusters_and_empty_ones_are_safe(three):
    z, y = three
    labels = torch.from_numpy(y).long()
    found = diagonal_moments(z, labels, 4)
    for c in range(3):
        assert_close(found.means[c], z[labels == c].double().mean(0))
        assert_close(found.covariances[c], z[labels == c].double().var(0, correction=0))
    assert torch.isfinite(found.covariances).all()
    assert_close(found.weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert found.weights[3] < 0.01


def test_spectral_cut_with_and_without_landmarks(three):
    z, y = three
    assert accuracy(y, spectral_labels(z, 3, seed=0).numpy()) == 1
    assert accuracy(y, spectral_labels(z, 3, seed=0, landmarks=60).numpy()) == 1
    assert (spectral_labels(z, 1, seed=0) == 0).all()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_spectral_cut_of_as_many_rows_as_clusters(k):
    z = torch.randn(k, 3, generator=torch.Generator().manual_seed(0))
    assert spectral_labels(z, k, seed=0).tolist() == list(range(k))


def test_spectral_landmarks_are_found_a_block_at_a_time(three, monkeypatch):
    z, _ = three
    whole = spectral_labels(z, 3, seed=0, landmarks=60)
    monkeypatch.setattr("deepclust.partition.spectral._BLOCK", 7)
    assert_close(spectral_labels(z, 3, seed=0, landmarks=60), whole, rtol=0, atol=0)


def test_layout_keeps_far_groups_apart_and_follows_its_seed():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 60)
    x = (rng.normal(size=(180, 8)) + 20 * np.eye(8)[y]).astype(np.float32)
    labels = manifold_labels(torch.from_numpy(x), 3, seed=0)
    assert accuracy(y, labels) == 1.0
    first, again = (manifold_coordinates(x, seed=1, components=2, neighbors=10) for _ in range(2))
    assert first.shape == (180, 2)
    assert (first == again).all()
    assert (first != manifold_coordinates(x, seed=2, components=2, neighbors=10)).any()


def test_layout_names_the_extra_that_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'deepclust\[manifold\]'"):
        manifold_coordinates(np.zeros((10, 2)), seed=0)
