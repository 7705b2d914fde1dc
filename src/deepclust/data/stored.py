"""Rows that are no array yet (chunked arrays, tables, data sets of other libraries), gone through once, in order.

What comes out is an array: in memory up to ``IN_MEMORY`` bytes, beyond that a memory map of an unnamed temporary file,
whose space is free again when the last reference to it goes, whatever ends the process. Training reads rows at random,
which none of these sources does well, and which a memory map does as fast as its disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deepclust.data.tables import is_vector, vectors
from deepclust.errors import InvalidDataError

Array = npt.NDArray[Any]

IN_MEMORY = 1 << 30  # bytes
_BLOCK = 1 << 25  # bytes that are read at a time


def gathered(blocks: Iterable[Array], n: int, *, watch: Callable[[float], None] | None = None) -> Array:
    """Write blocks of rows one after the other into one array.

    Parameters
    ----------
    blocks
        Arrays ``(b, *shape)``, all of the shape and dtype of the first.
    n
        Rows in all.
    watch
        Called with the share that is done.

    Returns
    -------
    (n, *shape) array
        In memory, or a memory map to read.

    Raises
    ------
    InvalidDataError
        Where a block has another shape, or there are more or fewer rows than promised.
    OSError
        Where the disk is full.
    """
    whole: Array | None = None
    file, shape, dtype, done = None, (), np.dtype(np.float32), 0
    try:
        for block in blocks:
            if done == 0:
                shape, dtype = block.shape[1:], block.dtype
                if n * block.nbytes / max(1, len(block)) > IN_MEMORY:
                    file = tempfile.TemporaryFile(prefix="deepclust-")  # noqa: SIM115  -- the map outlives it
                else:
                    whole = np.empty((n, *shape), dtype)
            if block.shape[1:] != shape or not np.can_cast(block.dtype, dtype, casting="same_kind"):
                raise InvalidDataError(
                    f"Rows {done:,} to {done + len(block):,} have shape {block.shape[1:]} and dtype {block.dtype}; "
                    f"those before have {shape} and {dtype}. All rows must be alike."
                )
            if done + len(block) > n:
                raise InvalidDataError(f"There are more than the {n:,} rows that were promised.")
            if whole is not None:
                whole[done : done + len(block)] = block
            elif file is not None:
                np.ascontiguousarray(block, dtype=dtype).tofile(file)
            done += len(block)
            if watch:
                watch(done / n)
        if done != n:
            raise InvalidDataError(f"There are {done:,} rows, and {n:,} were promised.")
        if file is not None:
            file.flush()
            whole = np.memmap(file, dtype=dtype, mode="r", shape=(n, *shape))
    finally:
        if file is not None:
            file.close()
    if whole is None:
        raise InvalidDataError("There are no rows.")
    return whole


def as_stored(X: Any, *, watch: Callable[[float], None] | None = None) -> Any:
    """Return an array of rows of what other libraries keep them in; anything else comes back as it is.

    Parameters
    ----------
    X
        Zarr, h5py or Dask array; AnnData (its ``X``, backed or not); a ``datasets.Dataset``, an Arrow table or data
        set; a PyTorch data set with a length, of rows or of tuples that begin with one.
    watch
        Called with the share that is done.
    """
    if hasattr(X, "obs_names") and hasattr(X, "X"):  # AnnData
        X = X.X
    if hasattr(X, "to_memory") and hasattr(X, "format"):  # a sparse matrix in a file, which AnnData backs
        return X.to_memory()
    if isinstance(X, torch.utils.data.Dataset):
        return _of_dataset(X, watch)
    kind = type(X).__module__.partition(".")[0]
    if kind == "datasets":
        return _of_hugging_face(X, watch)
    if kind == "pyarrow" and hasattr(X, "schema"):
        return _of_arrow(X, watch)
    if _is_chunked(X):
        n, size = int(X.shape[0]), _bytes_of_a_row(X)
        step = _in_chunks(X, max(1, _BLOCK // size))
        return gathered((np.asarray(X[i : i + step]) for i in range(0, n, step)), n, watch=watch)
    return X


def _is_chunked(X: Any) -> bool:
    known = isinstance(X, np.ndarray) or torch.is_tensor(X) or hasattr(X, "columns") or hasattr(X, "toarray")
    return not known and all(hasattr(X, name) for name in ("shape", "dtype", "ndim", "__getitem__")) and X.ndim > 0


def _bytes_of_a_row(X: Any) -> int:
    return max(1, int(np.prod(X.shape[1:])) * np.dtype(X.dtype).itemsize)


def _in_chunks(X: Any, step: int) -> int:
    """Round a number of rows to whole chunks of the source."""
    chunks = getattr(X, "chunks", None)
    first = chunks[0] if chunks else 1
    height = int(first[0] if isinstance(first, tuple) else first)  # Dask tells every chunk's height
    return max(height, step // height * height) if height > 0 else step


def _of_dataset(X: Any, watch: Callable[[float], None] | None) -> Array:
    if not hasattr(X, "__len__"):
        raise InvalidDataError(
            f"{type(X).__name__} has no length, so nothing could be said of all its rows. Give a data set with one."
        )
    n = len(X)

    def blocks() -> Iterator[Array]:
        for i in range(0, n, 256):
            yield np.stack([_row(X[j]) for j in range(i, min(n, i + 256))])

    try:
        return gathered(blocks(), n, watch=watch)
    except ValueError as error:
        if isinstance(error, InvalidDataError):
            raise
        raise InvalidDataError(
            f"{type(X).__name__} has rows of different shapes ({error}). Make them alike."
        ) from error


def _row(item: Any) -> Array:
    value = item[0] if isinstance(item, (tuple, list)) else item
    return value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)


def _of_arrow(X: Any, watch: Callable[[float], None] | None) -> Array:
    """Take the numbers of an Arrow table or data set; columns of lists of one length count as so many."""
    n = X.num_rows if hasattr(X, "num_rows") else X.count_rows()
    batches = X.to_batches()
    return gathered((table_rows(batch) for batch in batches if batch.num_rows), n, watch=watch)


def _of_hugging_face(X: Any, watch: Callable[[float], None] | None) -> Array:
    if hasattr(X, "keys"):  # a dictionary of splits
        raise InvalidDataError(f"X has several splits: {', '.join(X.keys())}. Give one of them.")
    images = [name for name, kind in X.features.items() if type(kind).__name__ == "Image"]
    if len(images) == 1:
        step = 256
        pictures = X.select_columns(images).with_format(None)

        def blocks() -> Iterator[Array]:
            for i in range(0, len(X), step):
                yield np.stack([np.asarray(picture) for picture in pictures[i : i + step][images[0]]])

        return gathered(blocks(), len(X), watch=watch)
    table = X.with_format("arrow")
    return gathered((table_rows(part) for part in table.iter(batch_size=4096)), len(X), watch=watch)


def table_rows(table: Any) -> Array:
    """Turn an Arrow table or batch into a matrix; its columns must be numbers, or lists of numbers of one length.

    Raises
    ------
    InvalidDataError
        Naming the columns that are neither, or that have missing values.
    """
    import pyarrow as pa

    parts: list[Array] = []
    bad: list[str] = []
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        column = table.column(name)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if column.null_count:
            raise InvalidDataError(f"Column {name!r} has {column.null_count:,} missing values. Fill or drop them.")
        if is_vector(kind):
            parts.append(vectors(column))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            parts.append(column.to_numpy(zero_copy_only=False)[:, None])
        else:
            bad.append(name)
    if bad or not parts:
        shown = ", ".join(map(repr, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise InvalidDataError(
            f"{len(bad)} column(s) of the table hold no numbers: {shown or 'all'}. Drop or encode them."
        )
    dtype = np.result_type(*parts)
    return np.concatenate([part.astype(dtype, copy=False) for part in parts], axis=1)
