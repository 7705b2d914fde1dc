"""Named public data sets: checked by content, cached, with their licences."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.idx import parse_idx
from deepclust.errors import DownloadError, InvalidParameterError, UnreadableFileError

HOME_VARIABLE = "DEEPCLUST_DATA"


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes
    ----------
    name : str
    X : (n, h, w) array
        Rows, in the publisher's units.
    y : (n,) int64
        Labels, for evaluation only.
    description : str
        Source, size, licence.
    """

    name: str
    X: npt.NDArray[Any]
    y: npt.NDArray[np.int64]
    description: str


@dataclass(frozen=True)
class _File:
    """A publisher's file: where it lives, and the MD5 of its content once decompressed."""

    folder: str
    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class _Set:
    read: Callable[[Callable[[_File], bytes]], tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    n_clusters: int
    description: str


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_ESL = "https://hastie.su.domains/ElemStatLearn/datasets/"
_CAI = "http://www.cad.zju.edu.cn/home/dengcai/Data/PIE/"


def _idx_files(folder: str, url: str, sums: tuple[str, str, str, str]) -> dict[str, _File]:
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    names = [f"{part}-ubyte.gz" for part in parts]
    return {name.split("-idx")[0]: _File(folder, name, url + name, md5) for name, md5 in zip(names, sums, strict=True)}


_MNIST_FILES = _idx_files(
    "mnist",
    _MNIST,
    (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
)
_FASHION_FILES = _idx_files(
    "fashion-mnist",
    _FASHION,
    (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
)
_USPS_FILES = tuple(
    _File("usps", f"zip.{part}.gz", f"{_ESL}zip.{part}.gz", md5)
    for part, md5 in (("train", "a2d376ecc766edab27f0c4621f180f99"), ("test", "ec27c60f11cf4a80de34679dd9108b4d"))
)
_PIE_FILE = _File("cmu-pie", "PIE_pose27.mat", _CAI + "PIE_pose27.mat", "a936b0b57c762db752a55d72efd41530")

_Get = Callable[[_File], bytes]
_Arrays = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def _digits(get: _Get) -> _Arrays:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images, data.target


def _idx(files: dict[str, _File], *parts: str, rows: slice = slice(None)) -> Callable[[_Get], _Arrays]:
    def read(get: _Get) -> _Arrays:
        images = [parse_idx(get(files[f"{part}-images"]), files[f"{part}-images"].name) for part in parts]
        labels = [parse_idx(get(files[f"{part}-labels"]), files[f"{part}-labels"].name) for part in parts]
        return np.concatenate(images)[rows], np.concatenate(labels)[rows]

    return read


def _usps(get: _Get) -> _Arrays:
    table = np.concatenate([np.loadtxt(get(file).decode().splitlines()) for file in _USPS_FILES])
    return table[:, 1:].reshape(-1, 16, 16).astype(np.float32), table[:, 0]


def _cmu_pie(get: _Get) -> _Arrays:
    import io

    from scipy.io import loadmat

    content = loadmat(io.BytesIO(get(_PIE_FILE)))
    images = content["fea"].reshape(-1, 32, 32).transpose(0, 2, 1)  # columns are column-major
    return np.ascontiguousarray(images), content["gnd"].ravel() - 1


_MNIST_NOTE = "MNIST handwritten digits (LeCun, Cortes, Burges; CC BY-SA 3.0)"
_SETS = {
    "digits": _Set(_digits, 10, "1,797 digits of 8x8 that come with scikit-learn (UCI; CC BY 4.0)."),
    "mnist": _Set(_idx(_MNIST_FILES, "train", "t10k"), 10, f"{_MNIST_NOTE}: all 70,000, 28x28."),
    "mnist-test": _Set(_idx(_MNIST_FILES, "t10k"), 10, f"{_MNIST_NOTE}: the 10,000 test images."),
    "mnist-dev": _Set(
        _idx(_MNIST_FILES, "train", rows=slice(10_000)),
        10,
        f"{_MNIST_NOTE}: the first 10,000 training images, on which settings may be tuned.",
    ),
    "fashion-mnist": _Set(
        _idx(_FASHION_FILES, "train", "t10k"), 10, "Fashion-MNIST (Zalando Research; MIT): all 70,000, 28x28."
    ),
    "usps": _Set(
        _usps, 10, "USPS handwritten digits (Hull 1994, via Hastie et al.): 9,298 of 16x16, values in [-1, 1]."
    ),
    "cmu-pie": _Set(
        _cmu_pie, 68, "CMU PIE faces, pose 27 (Sim et al., file of D. Cai; research use only): 2,856 of 32x32."
    ),
}
DATASETS: dict[str, str] = {name: entry.description for name, entry in _SETS.items()}


def load_dataset(name: str, *, data_home: str | Path | None = None, progress: bool = True) -> Dataset:
    """Load a public data set.

    Parameters
    ----------
    name
        ``digits``, ``mnist``, ``mnist-test``, ``mnist-dev``, ``fashion-mnist``, ``usps`` or ``cmu-pie``.
    data_home
        Folder with the publishers' files, one subfolder a set. None takes the environment variable
        ``DEEPCLUST_DATA``, else the user's cache, into which missing files are downloaded.
    progress
        Show a bar while downloading.

    Returns
    -------
    Dataset

    Raises
    ------
    InvalidParameterError
        For an unknown name.
    DownloadError
        Where a file could not be fetched.
    UnreadableFileError
        Where a file is not what its publisher put out.
    """
    if name not in _SETS:
        raise InvalidParameterError(f"There is no data set {name!r}; there are: {', '.join(_SETS)}.")
    entry = _SETS[name]
    X, y = entry.read(lambda file: _content(file, data_home, progress))
    return Dataset(name, X, y.astype(np.int64), entry.description)


def n_clusters_of(name: str) -> int:
    """Return the number of groups that a data set's publisher labelled."""
    return _SETS[name].n_clusters


def _content(file: _File, data_home: str | Path | None, progress: bool) -> bytes:
    """Return a file's decompressed content, checked; a broken one in the cache is fetched once more."""
    home = data_home or os.environ.get(HOME_VARIABLE)
    if home:
        return _checked_content(file, Path(home) / file.folder / file.name)
    try:
        return _checked_content(file, _fetch(file, progress))
    except UnreadableFileError:
        _fetch(file, progress).unlink()
        return _checked_content(file, _fetch(file, progress))


def _checked_content(file: _File, path: Path) -> bytes:
    if not path.is_file():
        raise UnreadableFileError(
            f"{path} is missing. Put the publisher's file there ({file.url}), or unset {HOME_VARIABLE} and data_home "
            "to have it downloaded."
        )
    raw = path.read_bytes()
    try:
        content = gzip.decompress(raw) if file.name.endswith(".gz") else raw
    except (OSError, EOFError) as error:
        raise UnreadableFileError(f"{path} is truncated or not gzip ({error}). Delete it and load again.") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
        raise UnreadableFileError(
            f"{path} is not the publisher's file: its checksum differs. Delete it and load again."
        )
    return content


def _fetch(file: _File, progress: bool) -> Path:
    """Download into the user's cache; a broken download leaves nothing and is tried three times."""
    import pooch

    from deepclust.data.download import DownloadBar

    cache = pooch.create(
        path=pooch.os_cache("deepclust") / file.folder,
        base_url="",
        registry={file.name: None},
        urls={file.name: file.url},
        retry_if_failed=2,
    )
    pooch.get_logger().setLevel("WARNING")
    try:
        downloader = pooch.HTTPDownloader(progressbar=DownloadBar(file.name) if progress else False, timeout=60)
        return Path(cache.fetch(file.name, downloader=downloader))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise DownloadError(
            f"{file.url} could not be fetched ({type(error).__name__}). Check the network, or put the file into a "
            f"folder {file.folder}/ below one that {HOME_VARIABLE} names."
        ) from error
