"""Counts of tests that are bombarded: a fixed sample by default, the full number with DEEPCLUST_TORTURE=1.

A full run leaves a record, ``benchmarks/torture/<name>.json``, which is committed.
"""

import json
import os
import platform
import subprocess
from pathlib import Path

IS_FULL = os.environ.get("DEEPCLUST_TORTURE") == "1"
_HOME = Path(__file__).parents[2]


def count(sample, full):
    """How often, here."""
    return full if IS_FULL else sample


def record(name, **facts):
    """Write what a full run found; the assertions that follow decide whether that is good."""
    if not IS_FULL:
        return
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=_HOME, capture_output=True, text=True, check=False)
    machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    folder = _HOME / "benchmarks" / "torture"
    folder.mkdir(exist_ok=True)
    content = {"name": name, "git": git.stdout.strip(), "machine": machine, **facts}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
