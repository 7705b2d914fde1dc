"""Handing a run to an explorer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from deepclust.errors import DeepclustError, MissingExtraError


def open_explorer(table: Path, *, port: int) -> None:
    """Serve a table by Embedding Atlas, on this machine alone, until it is stopped.

    Raises
    ------
    MissingExtraError
        Where Embedding Atlas is not installed.
    """
    program = shutil.which("embedding-atlas", path=str(Path(sys.executable).parent)) or shutil.which("embedding-atlas")
    if program is None:
        raise MissingExtraError(
            f"This needs the package embedding-atlas, which is not installed: pip install 'deepclust[explore]'. "
            f"The table for it is written: {table}"
        )
    command = [program, str(table), "--x", "x", "--y", "y", "--host", "127.0.0.1", "--port", str(port)]
    if "image" in pq.read_schema(table).names:
        command += ["--image", "image"]
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return
    if code:
        raise DeepclustError(f"Embedding Atlas ended with exit code {code}.")
