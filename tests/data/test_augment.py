"""Images are shifted, turned and resized by what was asked, and by nothing else."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepclust import DEC, MLP, Affine, Schedule, VaDE
from deepclust.data.augment import share_kept
from deepclust.data.rows import as_rows
from deepclust.errors import InvalidParameterError


def bump(height, width, row, column, spread=2.0):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * spread**2))


def centre(image):
    rows, columns = torch.meshgrid(torch.arange(image.shape[0]), torch.arange(image.shape[1]), indexing="ij")
    return float((rows * image).sum() / image.sum()), float((columns * image).sum() / image.sum())


def test_nothing_asked_changes_nothing():
    x = torch.rand(3, 2, 9, 12)
    assert_close(Affine(shift=0.0, rotation=0.0).apply(x), x, atol=1e-5, rtol=0)


def test_shifts_stay_within_their_share_of_each_side():
    torch.manual_seed(0)
    x = bump(40, 60, 20, 30).expand(200, 1, 40, 60)
    centres = np.array([centre(image[0]) for image in Affine(shift=0.1, rotation=0.0).apply(x)])
    assert np.abs(centres[:, 0] - 20).max() <= 4.01
    assert np.abs(centres[:, 1] - 30).max() <= 6.01
    assert centres[:, 0].std() > 1.5
    assert centres[:, 1].std() > 2.5


def test_turns_keep_distances_where_sides_differ():
    torch.manual_seed(0)
    x = (bump(40, 60, 10, 30) + 0 * 1).expand(100, 1, 40, 60)  # ten rows above the centre, but for half a pixel
    moved = np.array([centre(image[0]) for image in Affine(shift=0.0, rotation=40.0).apply(x)])
    radius = np.hypot(moved[:, 0] - 19.5, moved[:, 1] - 29.5)
    angle = np.degrees(np.arctan2(moved[:, 1] - 29.5, 19.5 - moved[:, 0]))
    assert_close(torch.tensor(radius), torch.full((100,), np.hypot(9.5, 0.5)).double(), atol=0.1, rtol=0)
    assert np.abs(angle - np.degrees(np.arctan2(0.5, 9.5))).max() < 40.5
    assert angle.std() > 15


def test_flip_mirrors_half_and_scale_resizes():
    torch.manual_seed(0)
    x = torch.rand(400, 1, 6, 6)
    out = Affine(shift=0.0, rotation=0.0, flip=True).apply(x)
    mirrored = torch.isclose(out, x.flip(-1), atol=1e-4).flatten(1).all(1)
    same = torch.isclose(out, x, atol=1e-4).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 0.4 < float(mirrored.float().mean()) < 0.6
    image = bump(40, 40, 19.5, 19.5, 4.0).expand(100, 1, 40, 40)
    mass = Affine(shift=0.0, rotation=0.0, scale=0.2).apply(image).flatten(1).sum(1) / image[0].sum()
    assert 1.2**-2 - 0.02 < float(mass.min()) < 0.85
    assert 1.15 < float(mass.max()) < 0.8**-2 + 0.02


def test_training_sees_changed_images_and_inference_does_not(digits, monkeypatch):
    seen = []
    real = Affine.apply

    def spy(self, x):
        seen.append(len(x))
        return real(self, x)

    monkeypatch.setattr(Affine, "apply", spy)
    plain, changed = Schedule(epochs=2, batch_size=50), Schedule(epochs=2, batch_size=50, augment=Affine())
    model = DEC(3, network=MLP(hidden=(8,), latent=2), pretrain=changed, schedule=plain, random_state=0)
    model.fit(digits[0][:100])
    assert seen == [50] * 4
    other = DEC(3, network=MLP(hidden=(8,), latent=2), pretrain=plain, schedule=plain, random_state=0)
    other.fit(digits[0][:100])
    assert not np.array_equal(other.transform(digits[0][:100]), model.transform(digits[0][:100]))


def test_flat_rows_are_refused_in_one_sentence():
    model = VaDE(2, pretrain=Schedule(epochs=1, augment=Affine()), random_state=0)
    with pytest.raises(InvalidParameterError, match=r"'augment'.*flat rows of 5 values"):
        model.fit(np.random.default_rng(0).random((40, 5)))


def test_a_later_field_is_described_only_when_it_is_used(tmp_path):
    from deepclust.storage import describe_params

    plain = describe_params(VaDE(2))
    assert "augment" not in plain["pretrain"]
    used = describe_params(VaDE(2, pretrain=Schedule(augment=Affine(rotation=5.0))))
    assert used["pretrain"]["augment"]["rotation"] == 5.0


def fine_groups(seed=0):
    """Thirty textures, each five times with little noise: any shift makes another texture of them."""
    rng = np.random.default_rng(seed)
    y = np.arange(150) % 30
    return (rng.random((30, 12, 12))[y] + 0.05 * rng.random((150, 12, 12))).astype(np.float32), y


def test_a_change_is_measured_by_the_width_of_clusters(digits):
    assert share_kept(Affine(), as_rows(digits[0]), 10, seed=0) > 0.7
    assert share_kept(Affine(), as_rows(fine_groups()[0]), 30, seed=0) < 0.1
    assert share_kept(Affine(shift=0.0, rotation=0.0), as_rows(fine_groups()[0]), 30, seed=0) == 1
    bright = fine_groups()[0] * np.linspace(0.2, 1.0, 150, dtype=np.float32)[:, None, None]
    assert share_kept(Affine(shift=0.0, rotation=0.0), as_rows(bright), 150, seed=0) == 1, "one row a cluster"


@pytest.mark.parametrize("fine", [True, False])
def test_left_open_images_are_changed_where_clusters_are_wider(fine, digits, monkeypatch, tmp_path):
    X, k = (fine_groups()[0], 30) if fine else (digits[0][:200], 10)
    seen = []
    real = Affine.apply
    monkeypatch.setattr(Affine, "apply", lambda self, x: seen.append(len(x)) or real(self, x))
    plain, open_ = Schedule(epochs=2, batch_size=50), Schedule(epochs=2, batch_size=50, augment="auto")
    common = {"network": MLP(hidden=(8,), latent=2), "pretrain": plain, "schedule": open_, "random_state": 0}
    model = DEC(k, **common).fit(X)
    told = [event for event in model.result_.events if event["kind"] == "images stay as they are"]
    assert seen[0] == len(X), "one look"
    assert set(seen[1:]) == (set() if fine else {50}), "and then every step, or none"
    assert len(told) == fine
    seen.clear()
    if fine:
        model.partial_fit(X)
        assert not seen, "an update does as the fit did"
    asked = DEC(k, **{**common, "schedule": open_(augment=Affine())})
    asked.fit(X)
    assert len(seen) > 1, "who asks for a change gets it"
    seen.clear()
    DEC(k, **{**common, "schedule": open_(augment=Affine(scale=0.15, careful=True))}).fit(X)
    assert set(seen[1:]) == (set() if fine else {50}), "with care, where they bear it"


def test_a_careful_change_leaves_flat_rows_as_they_are():
    flat, image = (as_rows(np.random.default_rng(0).random((9, *shape))).spec for shape in ((5,), (5, 5)))
    schedule = Schedule(augment=Affine(scale=0.15, careful=True))
    assert schedule.change(flat) is None
    assert schedule.change(image) == schedule.augment
