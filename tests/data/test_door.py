"""The single door for user data: whatever comes in is whole, finite and known, or refused in one sentence."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from deepclust.data.rows import as_rows
from deepclust.errors import DeepclustError, InvalidDataError

numbers = st.one_of(
    *(
        arrays(dtype, array_shapes(min_dims=2, max_dims=3, max_side=6), elements=elements)
        for dtype, elements in [
            (np.float64, st.floats(-1e100, 1e100)),
            (np.float32, st.floats(-(2.0**100), 2.0**100, width=32)),
            (np.float16, st.floats(-1e3, 1e3, width=16)),
            (np.int8, st.integers(-128, 127)),
            (np.uint8, st.integers(0, 255)),
            (np.int64, st.integers(-(2**53), 2**53)),
            (np.uint32, st.integers(0, 2**32 - 1)),
            (np.bool_, st.booleans()),
        ]
    )
)
anything = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.integers(),
    st.floats(),
    st.lists(st.one_of(st.integers(-5, 5), st.floats(), st.text(max_size=2), st.none()), max_size=4),
    st.lists(st.lists(st.one_of(st.floats(), st.text(max_size=2)), max_size=3), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    arrays(np.float64, array_shapes(min_dims=0, max_dims=6, max_side=3), elements=st.floats()),
    arrays(np.complex128, (3, 2), elements=st.complex_numbers(allow_nan=False)),
    arrays("U3", (3, 2)),
    arrays("O", (3, 2), elements=st.one_of(st.none(), st.text(max_size=2), st.integers())),
    arrays("datetime64[s]", (3, 2)),
)


@settings(deadline=None)
@given(numbers)
def test_every_value_comes_back_as_it_was(X):
    rows = as_rows(X)
    assert len(rows) == len(X)
    whole = rows.slice(0, len(X)).double().numpy().reshape(X.shape)
    np.testing.assert_array_equal(whole, X.astype(np.float64))
    index = torch.arange(len(X)).flip(0)
    np.testing.assert_array_equal(rows.gather(index).double().numpy().reshape(X.shape), X[::-1].astype(np.float64))
    assert rows.spec.low == X.min()
    assert rows.spec.high == X.max()
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_allclose(
            rows.moments.mean.reshape(X.shape[1:]),
            X.astype(np.float64).mean(0),
            rtol=1e-6,
            atol=1e-6 * max(1.0, float(np.abs(X.astype(np.float64)).max())),
        )


@settings(deadline=None, max_examples=300)
@given(anything)
@pytest.mark.filterwarnings("ignore")
def test_anything_else_is_taken_whole_or_refused_in_a_sentence(X):
    try:
        rows = as_rows(X)
    except DeepclustError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        return
    assert torch.isfinite(rows.slice(0, len(rows)).double()).all()


@settings(deadline=None)
@given(
    arrays(np.float64, (5, 3), elements=st.floats(-1e6, 1e6)),
    st.integers(0, 4),
    st.integers(0, 2),
    st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_a_value_that_is_not_finite_is_found_wherever_it_is(X, row, column, value):
    X[row, column] = value
    with pytest.raises(InvalidDataError, match=f"row {row}, feature {column}"):
        as_rows(X)


def test_values_too_large_to_square_are_refused():
    with pytest.raises(InvalidDataError, match="up to 1e"):
        as_rows(np.array([[1e200], [1.0]]))


def test_moments_are_exact_across_chunks_and_far_from_zero(monkeypatch):
    monkeypatch.setattr("deepclust.data.rows._CHUNK_VALUES", 7)
    X = np.random.default_rng(0).normal(size=(101, 3)) + 1e9
    moments = as_rows(X).moments
    np.testing.assert_allclose(moments.mean, X.mean(0), rtol=1e-15)
    np.testing.assert_allclose(moments.std, X.std(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "channels", "network"),
    [
        ((5, 8, 9), None, (1, 8, 9)),
        ((5, 8, 9, 3), None, (3, 8, 9)),
        ((5, 3, 8, 9), None, (3, 8, 9)),
        ((5, 8, 9, 1), None, (1, 8, 9)),
        ((5, 3, 9, 3), "last", (3, 3, 9)),
        ((5, 3, 9, 3), "first", (3, 9, 3)),
        ((5, 8, 9, 4), "last", (4, 8, 9)),
    ],
)
def test_images_go_channels_first_and_come_back(shape, channels, network):
    X = np.random.default_rng(0).random(shape)
    rows = as_rows(X, channels=channels)
    assert rows.spec.shape == network
    assert rows.spec.is_image
    back = rows.layout.to_user(rows.slice(0, 5))
    np.testing.assert_array_equal(back, X)


@pytest.mark.parametrize(
    "make",
    [
        lambda X: torch.from_numpy(X),
        lambda X: torch.from_numpy(X).requires_grad_(),
        lambda X: pd.DataFrame(X),
        lambda X: pl.DataFrame(X),
        lambda X: scipy.sparse.csr_matrix(X),
        lambda X: scipy.sparse.coo_array(X),
        lambda X: X.tolist(),
        lambda X: np.asfortranarray(X),
        lambda X: X[::-1],
        lambda X: X.astype(">f8"),
    ],
    ids=["torch", "grad", "pandas", "polars", "csr", "coo", "list", "fortran", "reversed", "big-endian"],
)
def test_containers_hold_the_same_rows(make):
    X = np.random.default_rng(0).random((6, 3)).round(2)
    made = make(X)
    expected = X[::-1] if isinstance(made, np.ndarray) and made.strides[0] < 0 else X
    np.testing.assert_array_equal(as_rows(made).slice(0, 6).numpy(), expected)


def test_bfloat16_tensors_and_nullable_columns_are_taken():
    assert as_rows(torch.ones(3, 2, dtype=torch.bfloat16)).spec.high == 1
    frame = pd.DataFrame({"a": pd.array([1, 2, 3], dtype="Int64"), "b": [0.5, 1.5, 2.5]})
    assert as_rows(frame).spec.high == 3


@pytest.mark.parametrize("library", [pd, pl])
def test_text_columns_are_named(library):
    frame = library.DataFrame({"age": [1, 2], "town": ["a", "b"], "job": ["c", "d"]})
    with pytest.raises(InvalidDataError, match=r"2 column\(s\) of X hold none: town, job"):
        as_rows(frame)


def test_the_array_of_the_user_is_not_copied():
    X = np.random.default_rng(0).random((100, 4))
    assert np.shares_memory(as_rows(X).source, X)
    rows = as_rows(X)
    rows.slice(0, 5).zero_()
    assert (rows.gather(torch.tensor([0])) != 0).any() or (X[0] == 0).all()
