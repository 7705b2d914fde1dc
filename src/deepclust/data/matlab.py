"""MATLAB files, read in a process of their own: SciPy's parser can end the process that feeds it broken bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.foreign import own_words
from deepclust.errors import UnreadableFileError

_LIMIT = 600  # seconds
_CHILD = """
import json, sys
import numpy, scipy.io
source, wanted, target = sys.argv[1:]
try:
    content = {key: value for key, value in scipy.io.loadmat(source).items() if not key.startswith("__")}
    keys = list(content)
    chosen = wanted if wanted in content else keys[0] if not wanted and len(keys) == 1 else None
    if chosen is not None:
        numpy.save(target, numpy.asarray(content[chosen]), allow_pickle=False)
    sys.stdout.write(json.dumps({"keys": keys}))
except NotImplementedError:
    sys.stdout.write(json.dumps({"is_hdf5": True}))
except BaseException as error:
    sys.stdout.write(json.dumps({"error": str(error) or type(error).__name__}))
"""


def read_mat(path: Path, wanted: str | None, pick: Callable[[list[str]], str]) -> npt.NDArray[Any]:
    """Read one array.

    Parameters
    ----------
    path
        The file.
    wanted
        Name of the array; None takes the only one.
    pick
        Returns the name to take of those in the file, or raises where none can be chosen.

    Raises
    ------
    UnreadableFileError
        Where the file is truncated, broken, or of MATLAB's version 7.3.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "array.npy"
        command = [sys.executable, "-c", _CHILD, str(path), wanted or "", str(target)]
        try:
            child = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False
            )
            told = json.loads(child.stdout)
        except (ValueError, subprocess.TimeoutExpired) as error:
            raise UnreadableFileError(f"{path} is truncated or not a MATLAB file (it broke the reader).") from error
        if "is_hdf5" in told:
            raise UnreadableFileError(
                f"{path} is a MATLAB 7.3 file, which this version does not read. Save it with '-v7' in MATLAB."
            )
        if "error" in told:
            words = own_words(ValueError(told["error"]))
            raise UnreadableFileError(f"{path} is truncated or not a MATLAB file ({words}).")
        pick(told["keys"])
        array: npt.NDArray[Any] = np.load(target, allow_pickle=False)
        return array
