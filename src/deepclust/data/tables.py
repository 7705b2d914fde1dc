"""Tables with text columns and holes, made into numbers: only as the user says, never silently."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from deepclust.errors import InvalidDataError
from deepclust.params import check_parameters

Missing = Literal["error", "mean", "median"]
Categorical = Literal["error", "onehot", "drop"]
_MOST_CATEGORIES = 100


class TableEncoder(TransformerMixin, BaseEstimator):
    """Turn a table into a matrix of floats.

    Numbers and booleans pass as they are. What else happens is said by two options, whose default is to refuse.

    Parameters
    ----------
    missing
        Missing numbers: ``"error"`` names the columns; ``"mean"`` and ``"median"`` fill them with that of the column.
    categorical
        Columns of text or categories: ``"error"`` names them; ``"onehot"`` makes one column of 0 and 1 a value, a
        missing one counting as a value; ``"drop"`` leaves them out.

    Attributes
    ----------
    columns_ : list of dict
        One a column of the fitted table: name, kind, and the fill value, the categories, or the length of its vectors.
        Plain JSON.
    """

    def __init__(self, *, missing: Missing = "error", categorical: Categorical = "error") -> None:
        self.missing = missing
        self.categorical = categorical

    @classmethod
    def of(cls, columns: Any) -> Self:
        """Make an encoder of the ``columns_`` of a fitted one, such as a file keeps them.

        Raises
        ------
        ValueError
            Where they are not such.
        """
        if not isinstance(columns, list) or not all(isinstance(column, dict) for column in columns):
            raise ValueError("columns must be a list of objects")
        for column in columns:
            kind, fill, known = column.get("kind"), column.get("fill", ""), column.get("categories")
            is_number = kind == "number" and (fill is None or type(fill) in (int, float))
            is_category = kind == "category" and isinstance(known, list) and all(isinstance(v, str) for v in known)
            is_vector = kind == "vector" and type(column.get("length")) is int and column["length"] > 0
            whole = is_number or is_category or is_vector or kind == "dropped"
            if not isinstance(column.get("name"), str) or not whole:
                raise ValueError("a column is not described as one")
        encoder = cls()
        encoder.columns_ = columns
        return encoder

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn fill values and categories from a pandas, polars or Arrow table."""
        check_parameters(self)
        table = table_columns(X)
        text = [name for name, values in table.items() if values.dtype == object]
        if text and self.categorical == "error":
            raise InvalidDataError(
                f"{_count(text, 'column')} of the table are not numbers: {_some(text)}. Say categorical='onehot' or "
                "'drop' (--categorical), or name one as id or labels."
            )
        holes = [name for name, values in table.items() if values.dtype != object and np.isnan(values).any()]
        if holes and self.missing == "error":
            raise InvalidDataError(
                f"{_count(holes, 'column')} of the table have missing values: {_some(holes)}. Say missing='mean' or "
                "'median' (--missing), or drop those rows."
            )
        self.columns_ = [self._learn(name, values) for name, values in table.items()]
        if not any(column["kind"] != "dropped" for column in self.columns_):
            raise InvalidDataError("The table has no column of numbers left to cluster.")
        return self

    def _learn(self, name: str, values: npt.NDArray[Any]) -> dict[str, Any]:
        if values.dtype == object:
            if self.categorical == "drop":
                return {"name": name, "kind": "dropped"}
            categories = sorted({_category(value) for value in values})
            if len(categories) > _MOST_CATEGORIES:
                raise InvalidDataError(
                    f"Column {name!r} has {len(categories)} different values, too many for one column each. "
                    "Drop it, or name it as id."
                )
            return {"name": name, "kind": "category", "categories": categories}
        if values.ndim == 2:
            if np.isnan(values).any():
                raise InvalidDataError(f"Column {name!r} has vectors with missing values. Drop those rows.")
            return {"name": name, "kind": "vector", "length": values.shape[1]}
        known = values[~np.isnan(values)]
        if len(known) == 0:
            raise InvalidDataError(f"Column {name!r} has no value at all. Drop it.")
        fill = None
        if self.missing != "error":
            fill = float(np.mean(known) if self.missing == "mean" else np.median(known))
        return {"name": name, "kind": "number", "fill": fill}

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        """Encode a table that has the columns of the fitted one; others are left out.

        Returns
        -------
        (n, d) float64
        """
        check_is_fitted(self)
        table = table_columns(X)
        wanted = [column for column in self.columns_ if column["kind"] != "dropped"]
        absent = [column["name"] for column in wanted if column["name"] not in table]
        if absent:
            raise InvalidDataError(f"The table lacks {_count(absent, 'column')} that the model knows: {_some(absent)}.")
        parts = [self._encode(column, table[column["name"]]) for column in wanted]
        return np.concatenate(parts, axis=1)

    def _encode(self, column: dict[str, Any], values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        name = column["name"]
        if column["kind"] == "category":
            found = np.array([_category(value) for value in values], dtype=object)
            strange = sorted(set(found) - set(column["categories"]))
            if strange:
                raise InvalidDataError(f"Column {name!r} has values that the model never saw: {_some(strange)}.")
            return np.stack([found == category for category in column["categories"]], axis=1).astype(np.float64)
        if values.dtype == object:
            raise InvalidDataError(f"Column {name!r} held numbers when the model was fitted, and holds text now.")
        length = column.get("length")
        if (values.shape[1] if values.ndim == 2 else None) != length:
            held = "numbers" if length is None else f"vectors of {length} numbers"
            raise InvalidDataError(f"Column {name!r} held {held} when the model was fitted, and does not now.")
        if length is not None:
            return values.astype(np.float64)
        holes = np.isnan(values)
        if holes.any() and column["fill"] is None:
            row = int(np.flatnonzero(holes)[0])
            raise InvalidDataError(
                f"Column {name!r} has missing values (first at row {row}), and the model was fitted without "
                "a way to fill them."
            )
        return np.where(holes, column["fill"], values).astype(np.float64)[:, None]

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Name the columns of the matrix."""
        check_is_fitted(self)
        names: list[str] = []
        for column in self.columns_:
            if column["kind"] == "number":
                names.append(column["name"])
            elif column["kind"] == "vector":
                names += [f"{column['name']}[{i}]" for i in range(column["length"])]
            elif column["kind"] == "category":
                names += [f"{column['name']}={category}" for category in column["categories"]]
        return np.asarray(names, dtype=object)


def table_columns(X: Any) -> dict[str, npt.NDArray[Any]]:
    """Split a pandas, polars or Arrow table into named columns: float64 where they are numbers, else objects."""
    if hasattr(X, "column_names"):  # Arrow
        return {name: _arrow_column(X.column(name)) for name in X.column_names}
    if hasattr(X, "columns"):
        return {str(name): _plain_column(X[name]) for name in X.columns}
    raise InvalidDataError(
        f"A table needs named columns; got a {type(X).__name__}. Give a pandas, polars or Arrow one."
    )


def is_vector(kind: Any) -> bool:
    """Tell whether an Arrow type is of lists of numbers."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type))


def vectors(column: Any) -> npt.NDArray[Any]:
    """Return an Arrow column of lists, all of one length, as a matrix.

    Raises
    ------
    InvalidDataError
        Where their lengths differ.
    """
    import pyarrow as pa

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = set(column.value_lengths().to_pylist()) if len(column) else {0}
    if len(lengths) != 1 or None in lengths:
        raise InvalidDataError(f"A column has lists of different lengths ({len(lengths)} of them); all must be alike.")
    matrix: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return matrix


def _arrow_column(column: Any) -> npt.NDArray[Any]:
    import pyarrow as pa

    kind = column.type
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        values: npt.NDArray[Any] = column.cast(pa.float64(), safe=False).to_numpy()
        return values
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if is_vector(kind) and column.null_count == 0:
        return vectors(column)
    return np.asarray(column.to_pylist(), dtype=object)


def _plain_column(column: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any]
    if not _looks_numeric(column):
        values = np.asarray(column.to_list(), dtype=object)
        nothing = all(value is None for value in values)  # no value, so no type either
        return np.full(len(values), np.nan) if nothing else values
    if hasattr(column, "isna"):  # pandas, whose nullable columns must be told what a missing value becomes
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return values
    return np.asarray(column, dtype=np.float64)


def _looks_numeric(column: Any) -> bool:
    dtype = column.dtype
    if hasattr(dtype, "is_numeric"):  # polars
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in "biuf"


def _category(value: Any) -> str:
    missing = value is None or value != value  # a NaN differs from itself
    return "(missing)" if missing else str(value)


def _count(names: list[str], noun: str) -> str:
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
