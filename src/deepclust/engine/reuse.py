"""Pretrained networks shared between runs that would train the very same one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from deepclust.engine.checkpoint import digest_tensors, read_tree, write_tree
from deepclust.engine.phase import Phase

_KNOWN = {"torch", "deepclust"}  # packages whose modules compute what their text says


@dataclass(frozen=True)
class Shelf:
    """A folder of trained networks, each under a key made of everything that determined it.

    The key holds the initial values of all that the phase trains, so that two methods share a network only where each
    would have come to it by itself: same data, seed, network, order of rows, schedule, precision and objective.
    """

    folder: Path

    def key(self, phase: Phase, run: dict[str, Any]) -> str | None:
        """Return the key of a phase's outcome, or None for a phase that shares none.

        Parameters
        ----------
        phase
            Before its first step.
        run
            What else determines it: data, seed, name, batch size, device, precision.
        """
        trained = _trained(phase)
        foreign = any(type(module).__module__.split(".")[0] not in _KNOWN for module in trained.modules())
        if phase.shared is None or foreign:
            return None
        text = {"objective": phase.shared, "schedule": asdict(phase.schedule), "network": repr(trained), **run}
        digest = hashlib.sha256(json.dumps(text, sort_keys=True, default=str).encode())
        digest.update(digest_tensors(trained.state_dict()).encode())
        return digest.hexdigest()[:24]

    def take(self, key: str, phase: Phase) -> list[dict[str, Any]] | None:
        """Put a stored outcome into the phase's modules and return its history, or None where there is none."""
        stored = read_tree(self._path(key))
        if stored is None:
            return None
        _trained(phase).load_state_dict(stored["state"])
        history: list[dict[str, Any]] = stored["history"]
        return history

    def put(self, key: str, phase: Phase, history: list[dict[str, Any]]) -> None:
        """Store an outcome."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_tree(self._path(key), {"state": dict(_trained(phase).state_dict()), "history": history})

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _trained(phase: Phase) -> nn.ModuleList:
    """Return what a phase trains, named by position: other methods keep the same network under other names."""
    return nn.ModuleList([item for item in phase.trains if isinstance(item, nn.Module)])
