"""Parquet: a file, a folder of files, or a partitioned one; read as a whole, or a batch at a time where it is large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.foreign import foreign
from deepclust.data.images import SUFFIXES
from deepclust.data.stored import IN_MEMORY, gathered, table_rows
from deepclust.data.tables import TableEncoder
from deepclust.errors import InvalidDataError

Array = npt.NDArray[Any]

_BATCH = 16_384  # rows


def open_parquet(path: Path) -> Any:
    """Return an Arrow data set; names of folders such as ``year=2026`` become columns."""
    from pyarrow import dataset

    with foreign(path, "truncated or not a Parquet file"):
        found = dataset.dataset(str(path), format="parquet", partitioning="hive")
        found.count_rows()  # reads every footer
        return found


def is_parquet_folder(path: Path) -> bool:
    """Tell whether a folder and those below it hold Parquet files, and no images that these might describe."""
    found = False
    for file in path.rglob("*") if path.is_dir() else ():
        suffix = file.suffix.lower()
        if suffix in SUFFIXES:
            return False
        found = found or suffix == ".parquet"
    return found


def fits_in_memory(data: Any) -> bool:
    """Tell whether a data set's values are few enough to be read as a whole."""
    width = sum(_bytes(kind) for kind in data.schema.types)
    stored = sum(
        fragment.metadata.row_group(i).total_byte_size
        for fragment in data.get_fragments()
        for i in range(fragment.metadata.num_row_groups)
    )
    return max(stored, data.count_rows() * width) <= IN_MEMORY


def _bytes(kind: Any) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # text and lists have no width
        return 8


def stream_rows(
    data: Any,
    path: Path,
    encoder: TableEncoder | None,
    beside: list[str],
    *,
    watch: Callable[[float], None] | None = None,
) -> tuple[Array, TableEncoder]:
    """Read a large table a batch at a time; numbers keep their type.

    Parameters
    ----------
    data
        As `open_parquet` returns it.
    path
        Where it is, for the messages.
    encoder
        Of a former run; None learns one, which columns of numbers need only.
    beside
        Columns that are no features.
    watch
        Called with the share that is done.

    Raises
    ------
    InvalidDataError
        Where a column is not numbers, or has missing values, and no encoder of a former run says what to do.
    """
    names = [name for name in data.schema.names if name not in beside]

    def batches() -> Iterator[Any]:
        with foreign(path, "truncated or not a Parquet file"):
            for batch in data.to_batches(columns=names, batch_size=_BATCH):
                if batch.num_rows:
                    yield batch

    n = data.count_rows()
    if encoder is None:
        first = next(batches())
        table_rows(first)  # refuses columns that are no numbers, before anything is written
        encoder = TableEncoder.of([_column(first, name) for name in names])
        return gathered((table_rows(batch) for batch in batches()), n, watch=watch), encoder
    table = (_as_table(batch) for batch in batches())
    return gathered((encoder.transform(part) for part in table), n, watch=watch), encoder


def _column(batch: Any, name: str) -> dict[str, Any]:
    column = batch.column(name)
    if hasattr(column, "value_lengths"):
        return {"name": name, "kind": "vector", "length": int(column.value_lengths()[0].as_py())}
    return {"name": name, "kind": "number", "fill": None}


def _as_table(batch: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches([batch])


def read_column(data: Any, name: str, path: Path) -> Array:
    """Return one column, such as ids or labels."""
    if name not in data.schema.names:
        raise InvalidDataError(f"{path} has no column {name!r}; it has {', '.join(data.schema.names)}.")
    with foreign(path, "truncated or not a Parquet file"):
        return np.asarray(data.to_table(columns=[name]).column(0).to_pylist())
