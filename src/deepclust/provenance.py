"""Where a result comes from: data, versions, machine."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import scipy.sparse
import torch

from deepclust.data.rows import Rows

_PACKAGES = ("deepclust", "torch", "numpy", "scipy", "scikit-learn", "lightning-fabric")


def fingerprint_rows(rows: Rows) -> str:
    """Return the SHA-256 of the data: shape, dtype, channel layout and every value."""
    source = rows.source
    digest = hashlib.sha256(repr((tuple(source.shape), str(source.dtype), rows.layout.channels)).encode())
    if scipy.sparse.issparse(source):
        for part in (source.indptr, source.indices, source.data):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()
    step = max(1, (1 << 24) // max(1, int(np.prod(source.shape[1:])) * source.itemsize))
    for start in range(0, len(source), step):
        digest.update(np.ascontiguousarray(source[start : start + step]).view(np.uint8).data)
    return digest.hexdigest()


def versions(*others: str) -> dict[str, str]:
    """Return the versions that a result depends on: of the library's packages, and of others by name."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *others):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine(device: str) -> dict[str, Any]:
    """Describe the machine, without its name."""
    facts = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts
