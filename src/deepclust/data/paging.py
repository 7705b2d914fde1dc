"""Files mapped into memory: what is wanted next is asked for at once.

Rows drawn at random lie on pages far apart. Touched one after the other, each waits for the disk, which reads much
around it that nobody wants; asked for together, they are read side by side, and nothing else is.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def map_of(array: Any) -> mmap.mmap | None:
    """Return the map that an array, or what it is a view of, lies in; None for any other."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None


def ask_for(array: Array, index: npt.NDArray[np.int64]) -> None:
    """Ask the system to read rows of a mapped array; returns at once, and is a hint that a system may not know.

    Parameters
    ----------
    array
        ``(n, *shape)``.
    index
        Row numbers, none negative.
    """
    file = map_of(array)
    if file is None or not hasattr(mmap, "MADV_WILLNEED") or not array[:1].flags.c_contiguous:
        return
    first = array.ctypes.data - np.frombuffer(file, np.uint8).ctypes.data
    begin = first + np.sort(index) * array.strides[0]
    end = begin + array[:1].nbytes
    begin -= begin % mmap.PAGESIZE
    with contextlib.suppress(OSError):
        for start, length in zip(begin.tolist(), (end - begin).tolist(), strict=True):
            file.madvise(mmap.MADV_WILLNEED, start, length)
