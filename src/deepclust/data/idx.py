"""The IDX format of MNIST and its kin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.errors import UnreadableFileError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


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
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or content[3] == 0:
        raise UnreadableFileError(f"{name} is not an IDX file: its first four bytes are {content[:4]!r}.")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise UnreadableFileError(f"{name} is truncated inside its header.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=axes, offset=4))
    dtype = np.dtype(_DTYPES[content[2]])
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise UnreadableFileError(
            f"{name} is truncated or padded: its header says {expected} bytes, and it has {len(content)}."
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)
