"""The IDX format of MNIST and its kin."""

from __future__ import annotations

import gzip
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.foreign import foreign
from deepclust.errors import UnreadableFileError

_BLOCK = 1 << 20  # bytes
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> npt.NDArray[Any]:
    """Read an IDX file, plain or compressed by gzip; no more of it than its header promises.

    Raises
    ------
    UnreadableFileError
        Where it is not IDX, or its values are not as many as it says.
    """
    with foreign(path, "truncated or not gzip"), path.open("rb") as raw:
        is_compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw) if is_compressed else nullcontext(raw) as file:
            head = _at_most(file, 4)
            head += _at_most(file, 4 * head[3] if len(head) == 4 else 0)
            _, start, expected = _header(head, str(path))
            return parse_idx(head + _at_most(file, expected - start + 1), str(path))


def _at_most(file: Any, n: int) -> bytes:
    """Read n bytes or what there is, without room for n being made before they are there."""
    parts: list[bytes] = []
    while n > 0 and (part := file.read(min(n, _BLOCK))):
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def parse_idx(content: bytes, name: str) -> npt.NDArray[Any]:
    """Parse an IDX file's bytes.

    Parameters
    ----------
    content
        Two zero bytes, a type, the number of axes, the sizes, the values.
    name
        For the error messages.

    Raises
    ------
    UnreadableFileError
        Where the header is not IDX or the values are not as many as it says.
    """
    (shape, dtype), start, expected = _header(content, name)
    if len(content) != expected:
        has = len(content) if len(content) < expected else "more"
        raise UnreadableFileError(f"{name} is truncated or padded: its header says {expected} bytes, and it has {has}.")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _header(content: bytes, name: str) -> tuple[tuple[tuple[int, ...], np.dtype[Any]], int, int]:
    """Return shape and dtype, where the values start, and how long the file must be."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or content[3] == 0:
        raise UnreadableFileError(f"{name} is not an IDX file: its first four bytes are {content[:4]!r}.")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise UnreadableFileError(f"{name} is truncated inside its header.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=axes, offset=4))
    dtype: np.dtype[Any] = np.dtype(_DTYPES[content[2]])
    return (shape, dtype), start, start + dtype.itemsize * int(np.prod(shape, dtype=object))
