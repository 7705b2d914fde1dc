"""A checkpoint is two safetensors files: the last boundary between phases, and progress inside the current phase.

Trees of dicts, lists, tensors and JSON values are stored without pickle: tensors as tensors, the rest as JSON in the
file's metadata, with a checksum of both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from deepclust.atomic import atomic_file
from deepclust.errors import CheckpointError
from deepclust.tensorfile import write_tensors

FORMAT = 2


def write_tree(path: Path, tree: Any) -> None:
    """Write a tree atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_pack(tree, tensors))
    metadata = {"format": str(FORMAT), "tree": skeleton, "sha256": _digest(skeleton, tensors)}
    with atomic_file(path) as part:
        write_tensors(tensors, part, metadata)


def read_tree(path: Path) -> Any:
    """Read a tree, or None where the file does not exist.

    Raises
    ------
    CheckpointError
        Where the file is broken or of another format.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read ({error}). Delete it to start anew.") from error
    if metadata.get("format") != str(FORMAT):
        raise CheckpointError(f"The checkpoint {path} has format {metadata.get('format')}, not {FORMAT}. Start anew.")
    if metadata["sha256"] != _digest(metadata["tree"], tensors):
        raise CheckpointError(f"The checkpoint {path} is corrupted: its checksum differs. Delete it to start anew.")
    return _unpack(json.loads(metadata["tree"]), tensors)


def _digest(skeleton: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256((skeleton + digest_tensors(tensors)).encode()).hexdigest()


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum of names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        flat = tensors[name].detach().cpu().contiguous().flatten()
        if len(flat):  # an empty tensor may have no stride to be seen as bytes by
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _pack(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = node.detach().cpu().clone().contiguous()
        return {"$tensor": name}
    if isinstance(node, np.ndarray):
        return {"$array": _pack(torch.from_numpy(np.ascontiguousarray(node)), tensors)}
    if isinstance(node, tuple):
        return {"$tuple": [_pack(item, tensors) for item in node]}
    if isinstance(node, dict):
        return {"$dict": [[_pack(key, tensors), _pack(value, tensors)] for key, value in node.items()]}
    if isinstance(node, list):
        return [_pack(item, tensors) for item in node]
    if isinstance(node, np.generic):
        return node.item()
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise CheckpointError(f"A checkpoint cannot hold a {type(node).__name__}; return tensors and plain values.")


def _unpack(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_unpack(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    (kind, value), *_ = node.items()
    if kind == "$tensor":
        return tensors[value]
    if kind == "$array":
        return _unpack(value, tensors).numpy()
    if kind == "$tuple":
        return tuple(_unpack(item, tensors) for item in value)
    return {_unpack(key, tensors): _unpack(item, tensors) for key, item in value}


def plain(value: Any) -> Any:
    """Give a stored result the types that a replay will have: named tuples become tuples, tensors copies."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
