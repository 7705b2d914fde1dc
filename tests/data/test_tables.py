"""Text and holes become numbers only as the user says."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from deepclust import TableEncoder
from deepclust.errors import InvalidDataError

COLUMNS = {"age": [1.0, None, 3.0], "town": ["x", "y", None], "size": [4, 5, 6], "ok": [True, False, True]}
every_library = pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "arrow"]
)


@every_library
def test_holes_and_text_are_errors_unless_the_user_says_otherwise(make):
    table = make(COLUMNS)
    with pytest.raises(InvalidDataError, match=r"1 column of the table are not numbers: 'town'"):
        TableEncoder().fit(table)
    with pytest.raises(InvalidDataError, match=r"1 column of the table have missing values: 'age'"):
        TableEncoder(categorical="drop").fit(table)


@every_library
def test_encodes_as_told(make):
    encoder = TableEncoder(missing="mean", categorical="onehot")
    found = encoder.fit_transform(make(COLUMNS))
    names = list(encoder.get_feature_names_out())
    assert names == ["age", "town=(missing)", "town=x", "town=y", "size", "ok"]
    np.testing.assert_array_equal(found, [[1, 0, 1, 0, 4, 1], [2, 0, 0, 1, 5, 0], [3, 1, 0, 0, 6, 1]])


@every_library
def test_new_rows_are_encoded_as_the_fitted_ones_were(make):
    encoder = TableEncoder(missing="median", categorical="onehot").fit(make(COLUMNS))
    new = make({"size": [7], "extra": [0], "ok": [False], "town": ["y"], "age": [None]})
    np.testing.assert_array_equal(encoder.transform(new), [[2, 0, 0, 1, 7, 0]])
    with pytest.raises(InvalidDataError, match=r"'town' has values that the model never saw: 'z'"):
        encoder.transform(make({**{k: v[:1] for k, v in COLUMNS.items()}, "town": ["z"]}))
    with pytest.raises(InvalidDataError, match=r"lacks 1 column that the model knows: 'size'"):
        encoder.transform(make({k: v for k, v in COLUMNS.items() if k != "size"}))


def test_a_hole_where_none_was_is_an_error():
    encoder = TableEncoder().fit(pd.DataFrame({"a": [1.0, 2.0]}))
    with pytest.raises(InvalidDataError, match="first at row 1"):
        encoder.transform(pd.DataFrame({"a": [1.0, np.nan]}))
    with pytest.raises(InvalidDataError, match="holds text now"):
        encoder.transform(pd.DataFrame({"a": ["x", "y"]}))


def test_nullable_and_categorical_pandas_columns():
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.Categorical(["u", "v"])})
    found = TableEncoder(missing="mean", categorical="onehot").fit_transform(frame)
    np.testing.assert_array_equal(found, [[1, 1, 0], [1, 0, 1]])


def test_too_many_categories_and_empty_columns_are_named():
    with pytest.raises(InvalidDataError, match="'id' has 200 different values"):
        TableEncoder(categorical="onehot").fit(pd.DataFrame({"id": [str(i) for i in range(200)]}))
    with pytest.raises(InvalidDataError, match="'a' has no value"):
        TableEncoder(missing="mean").fit(pd.DataFrame({"a": [np.nan, np.nan]}))
    with pytest.raises(InvalidDataError, match="no column of numbers"):
        TableEncoder(categorical="drop").fit(pd.DataFrame({"a": ["x", "y"]}))
