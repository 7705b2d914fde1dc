"""Files by others: whatever their parsers raise becomes one sentence that names the file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepclust.errors import DeepclustError, UnreadableFileError

_LONGEST = 200  # characters of a parser's own words
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def foreign(path: Path, problem: str) -> Iterator[None]:
    """Read bytes that may be broken; a parser may raise anything where they are.

    Parameters
    ----------
    path
        The file.
    problem
        What it is then, such as "truncated or not an array file".

    Raises
    ------
    UnreadableFileError
        In the place of every error but a full disk, which is no fault of the file.
    """
    try:
        yield
    except DeepclustError:
        raise
    except MemoryError as error:
        raise UnreadableFileError(f"{path} promises more values than fit into memory ({own_words(error)}).") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise UnreadableFileError(f"{path} is {problem} ({own_words(error)}).") from error


def own_words(error: BaseException) -> str:
    """Return the first line of what an error says, without characters that would disturb a terminal."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
