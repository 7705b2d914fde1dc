"""Data that nobody should cluster, through every method: a result or a clear error, never labels of nothing."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from deepclust.errors import DeepclustError
from tests.common.small import DEEP, small
from tests.common.torture import IS_FULL, record

RNG = np.random.default_rng(0)


def groups(n=120, d=6, k=3):
    return make_blobs(n, n_features=d, centers=k, random_state=0)[0]


def some_constant():
    X = groups()
    X[:, 1], X[:, 4] = 7.0, 0.0
    return X


def dominated():
    return np.concatenate([RNG.normal(size=(396, 6)), RNG.normal(8.0, size=(4, 6))])


DATA = {
    "all rows equal": (lambda: np.full((50, 6), 3.0), 3),
    "duplicates": (lambda: np.repeat(groups(6), 20, axis=0), 3),
    "fewer kinds of rows than clusters": (lambda: np.repeat(groups(4), 20, axis=0), 8),
    "one group of 99 %": (dominated, 2),
    "constant features": (some_constant, 3),
    "scale 1e-8": (lambda: groups() * 1e-8, 3),
    "scale 1e8": (lambda: groups() * 1e8, 3),
    "scales from 1e-8 to 1e8": (lambda: groups() * np.logspace(-8, 8, 6), 3),
    "far from zero": (lambda: groups() + 1e8, 3),
    "two clusters": (groups, 2),
    "two hundred clusters": (lambda: groups(600, 6, 200), 200),
    "as many clusters as rows": (lambda: groups(12), 12),
    "two rows": (lambda: groups(2, 6, 2), 2),
    "one feature": (lambda: groups(120, 1), 3),
    "one cluster": (groups, 1),
    "an outlier": (lambda: np.concatenate([groups(), np.full((1, 6), 1e9)]), 3),
    "bytes that are all but empty": (lambda: (RNG.random((80, 8, 8)) > 0.99).astype(np.uint8) * 255, 3),
}
PAIRS = [(name, case) for name in DEEP for case in DATA]
# Every method and every case comes up in the sample; the full grid is a torture.
SAMPLE = [pair for i, pair in enumerate(PAIRS) if i % 4 == 0]
_found = {}


@pytest.mark.parametrize(("name", "case"), PAIRS if IS_FULL else SAMPLE)
def test_a_result_or_a_clear_error(name, case):
    make, k = DATA[case]
    X = make()
    params = {}
    if X.ndim == 3:
        from deepclust import Conv

        params["network"] = Conv(channels=(4, 8), dense=8, latent=3)
    try:
        model = small(name, n_clusters=k, epochs=3).set_params(**params).fit(X)
    except DeepclustError as error:
        said = _found[f"{name}: {case}"] = str(error)
    else:
        said = None
    if said is not None:
        assert "\n" not in said
        assert len(said) < 500
        assert case in ("all rows equal", "as many clusters as rows", "two rows", "one cluster", "an outlier"), said
        return
    _found[f"{name}: {case}"] = "result"
    labels = model.labels_
    assert labels.dtype == np.int64
    assert ((labels >= 0) & (labels < k)).all()
    assert np.isfinite(model.result_.proba).all()
    np.testing.assert_allclose(model.result_.proba.sum(axis=1), 1.0, atol=1e-4)
    assert np.isfinite(model.transform(X)).all()
    assert (model.predict(X) == labels).all()


def test_all_of_it_is_on_record():
    results = sum(told == "result" for told in _found.values())
    errors = {pair: told for pair, told in _found.items() if told != "result"}
    record("degenerate-data", pairs=len(_found), results=results, errors=errors)
    if IS_FULL:
        assert len(_found) == len(PAIRS)
