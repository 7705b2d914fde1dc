"""Rows of a source by their numbers, so that a part of it can be read without the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.foreign import foreign
from deepclust.data.parquet import is_parquet_folder, open_parquet
from deepclust.data.readers import Loaded, ReadOptions, read_input
from deepclust.data.stored import table_rows
from deepclust.data.tables import TableEncoder
from deepclust.errors import InvalidDataError

Array = npt.NDArray[Any]


class AbstractRanges(ABC):
    """A source of rows.

    Attributes
    ----------
    n : int
        Rows in all.
    row_bytes : int
        About how much memory a row takes.
    """

    n: int
    row_bytes: int

    @abstractmethod
    def read(self, start: int, stop: int) -> Loaded:
        """Return the rows of these numbers, in memory, with what identifies them."""


class _Whole(AbstractRanges):
    """What was read once, or is mapped from its file."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.n = int(loaded.X.shape[0])
        self.row_bytes = max(1, int(np.prod(loaded.X.shape[1:])) * loaded.X.dtype.itemsize)

    def read(self, start: int, stop: int) -> Loaded:
        whole = self._loaded
        rows = whole.X[start:stop]
        ids = None if whole.ids is None else whole.ids[start:stop]
        return Loaded(whole.name, np.array(rows) if isinstance(rows, np.ndarray) else rows, whole.id_name, ids)


class _Table(AbstractRanges):
    """A Parquet file or folder, of which the row groups that a range touches are read."""

    def __init__(self, path: Path, options: ReadOptions, encoder: TableEncoder | None) -> None:
        self._path, self._encoder, self._id = path, encoder, options.id_column
        data = open_parquet(path)
        names = data.schema.names
        if self._id is not None and self._id not in names:
            raise InvalidDataError(f"{path} has no column {self._id!r}; it has {', '.join(names)}.")
        features = [column["name"] for column in encoder.columns_] if encoder is not None else names
        absent = [name for name in features if name not in names]
        if absent:
            raise InvalidDataError(f"{path} lacks columns that the model knows: {', '.join(map(repr, absent[:5]))}.")
        self._columns = [name for name in names if name in features or name == self._id]
        self._groups: list[tuple[int, Any]] = []  # where each begins, and what to read it from
        self.n = 0
        size = 0
        with foreign(path, "truncated or not a Parquet file"):
            for fragment in data.get_fragments():
                for group in fragment.split_by_row_group():
                    if rows := group.row_groups[0].num_rows:
                        self._groups.append((self.n, group))
                        self.n += rows
                        size += group.row_groups[0].total_byte_size
        self._schema = data.schema
        self.row_bytes = max(8 * len(self._columns), size // max(1, self.n))

    def read(self, start: int, stop: int) -> Loaded:
        import pyarrow as pa

        begins = [begin for begin, _ in self._groups]
        first = int(np.searchsorted(begins, start, side="right")) - 1
        last = int(np.searchsorted(begins, stop, side="left"))
        with foreign(self._path, "truncated or not a Parquet file"):
            parts = [
                group.to_table(schema=self._schema, columns=self._columns) for _, group in self._groups[first:last]
            ]
            table = pa.concat_tables(parts).slice(start - begins[first], stop - start)
        ids = None
        if self._id is not None:
            ids = np.asarray(table.column(self._id).to_pylist())
            table = table if self._encoder is not None else table.drop_columns([self._id])
        X = table_rows(table) if self._encoder is None else self._encoder.transform(table)
        return Loaded(self._path.stem, X, self._id, ids)


def open_ranges(
    source: str,
    options: ReadOptions,
    encoder: TableEncoder | None = None,
    *,
    watch: Callable[[float], None] | None = None,
) -> AbstractRanges:
    """Open what a user named for reading by ranges: Parquet and ``.npy`` from the disk, anything else read once.

    Parameters
    ----------
    source, options, encoder, watch
        As for `deepclust.data.readers.read_input`.
    """
    path = Path(source)
    if path.exists() and (path.suffix.lower() == ".parquet" or is_parquet_folder(path)):
        return _Table(path, options, encoder)
    return _Whole(read_input(source, options, encoder=encoder, watch=watch))
