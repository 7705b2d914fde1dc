"""Rows of a step that lie on disk and not in memory: asked for at once, and touched one after the other.

python benchmarks/scale/reading.py ROWS.npy
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from deepclust.data import paging
from deepclust.data.rows import Rows, as_rows

RECORDS = Path(__file__).with_name("records")
STEPS, ROWS = 60, 256


def forget(path: str) -> None:
    """Have the system drop the pages that it keeps of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def milliseconds(rows: Rows) -> dict[str, float]:
    """Gather the rows of so many steps, drawn at random."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(STEPS):
        index = torch.randint(len(rows), (ROWS,), generator=generator)
        began = time.perf_counter()
        rows.gather(index)
        found.append(1e3 * (time.perf_counter() - began))
    return {"mean": statistics.mean(found), "median": statistics.median(found), "most": max(found)}


def measure(path: str, ask: object) -> dict[str, float]:
    """Return milliseconds a step, from a file of which nothing is in memory."""
    forget(path)
    rows = as_rows(np.load(path, mmap_mode="r"), measure=False)
    with mock.patch("deepclust.data.rows.ask_for", ask):
        return milliseconds(rows)


def main() -> None:
    path = sys.argv[1]
    ways = {"asked_for": paging.ask_for, "touched": lambda array, index: None}
    found = {"rows_a_step": ROWS, "steps": STEPS, **{name: measure(path, ask) for name, ask in ways.items()}}
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / "reading.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
