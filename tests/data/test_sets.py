"""Named data sets: what the publishers put out, checked, or a clear error."""

import gzip
import shutil

import numpy as np
import pytest
import requests

from deepclust import load_dataset
from deepclust.data.sets import DATASETS, n_clusters_of
from deepclust.errors import DownloadError, InvalidParameterError, UnreadableFileError

SHAPES = {
    "digits": (1797, 8, 8),
    "mnist": (70_000, 28, 28),
    "mnist-test": (10_000, 28, 28),
    "mnist-dev": (10_000, 28, 28),
    "fashion-mnist": (70_000, 28, 28),
    "usps": (9298, 16, 16),
    "cmu-pie": (2856, 32, 32),
}


def test_digits_are_embedded():
    data = load_dataset("digits")
    assert data.X.shape == (1797, 8, 8)
    assert data.name == "digits"
    assert "UCI" in data.description


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(DATASETS))
def test_publishers_files_give_rows_and_labels(name, data_home):
    data = load_dataset(name, data_home=data_home)
    assert data.X.shape == SHAPES[name]
    assert data.y.shape == data.X.shape[:1]
    assert data.y.dtype == np.int64
    assert sorted(set(data.y.tolist())) == list(range(n_clusters_of(name)))


@pytest.mark.data
def test_faces_are_upright(data_home):
    faces = load_dataset("cmu-pie", data_home=data_home).X.mean(axis=0)
    rows, columns = np.abs(np.diff(faces, axis=0)).mean(), np.abs(faces - faces[:, ::-1]).mean()
    turned = faces.T
    assert columns < np.abs(turned - turned[:, ::-1]).mean(), "a face is more alike left and right than up and down"
    assert rows > 0


@pytest.mark.data
def test_dev_set_is_the_first_training_images(data_home):
    dev, whole = load_dataset("mnist-dev", data_home=data_home), load_dataset("mnist", data_home=data_home)
    assert (whole.X[:10_000] == dev.X).all()


def test_unknown_names_are_refused():
    with pytest.raises(InvalidParameterError, match="There is no data set 'mnits'; there are: digits"):
        load_dataset("mnits")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"usps/zip\.train\.gz is missing"):
        load_dataset("usps", data_home=tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda raw: raw[: len(raw) // 2], "truncated or not gzip"),
        (lambda raw: gzip.compress(gzip.decompress(raw)[:-1] + b"!"), "not the publisher's file"),
    ],
)
def test_broken_files_are_refused(spoil, sentence, data_home, tmp_path):
    shutil.copytree(data_home / "usps", tmp_path / "usps")
    file = tmp_path / "usps" / "zip.test.gz"
    file.chmod(0o600)
    (tmp_path / "usps").chmod(0o700)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(UnreadableFileError, match=sentence):
        load_dataset("usps", data_home=tmp_path)


def test_no_network_is_a_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("DEEPCLUST_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def offline(*args, **kwargs):
        raise requests.exceptions.ConnectionError("no network")

    monkeypatch.setattr("requests.get", offline)
    with pytest.raises(DownloadError, match=r"could not be fetched \(ConnectionError\).*DEEPCLUST_DATA"):
        load_dataset("usps", progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.data
def test_broken_download_is_fetched_once_more(data_home, tmp_path, monkeypatch):
    monkeypatch.delenv("DEEPCLUST_DATA")
    fetched = []

    def fetch(file, progress):
        path = tmp_path / file.name
        if not path.exists():
            fetched.append(file.name)
            whole = (data_home / file.folder / file.name).read_bytes()
            path.write_bytes(whole[:100] if fetched.count(file.name) == 1 else whole)
        return path

    monkeypatch.setattr("deepclust.data.sets._fetch", fetch)
    assert load_dataset("usps").X.shape == (9298, 16, 16)
    assert sorted(fetched) == ["zip.test.gz"] * 2 + ["zip.train.gz"] * 2
