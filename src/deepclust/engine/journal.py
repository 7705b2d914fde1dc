"""What a run has reached, in memory and, where there is a folder, on disk.

Two files: the last *boundary* (finished phases, the model as the last of them left it, results of closed-form work) and
*progress* inside the current phase, which counts only on top of the boundary that it was written on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from deepclust.engine.checkpoint import read_tree, write_tree
from deepclust.errors import CheckpointError


class Journal:
    """The memory of a run.

    Parameters
    ----------
    folder
        Where it is kept; None keeps it in memory only.
    fingerprint
        What a stored journal must agree on to be this run's.

    Attributes
    ----------
    history, events : list of dict
        Epochs, and what happened besides.
    finished : list of str
        Phases, in the order in which they ended.
    once : dict
        Results of closed-form work.
    boundary : dict or None
        State of the model and of kept objects when the last phase ended.
    """

    def __init__(self, folder: str | Path | None, fingerprint: dict[str, Any]) -> None:
        self.fingerprint = fingerprint
        self.history: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.finished: list[str] = []
        self.once: dict[str, Any] = {}
        self.boundary: dict[str, Any] | None = None
        self._folder = None if folder is None else Path(folder)
        self._former_seconds = 0.0
        self._began = self._last_write = time.monotonic()
        self._progress = self._read()

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken, former processes included."""
        return self._former_seconds + time.monotonic() - self._began

    @property
    def seconds_since_write(self) -> float:
        """Seconds since the last write, or since the start of this process."""
        return time.monotonic() - self._last_write

    @property
    def is_kept(self) -> bool:
        """Whether there is a folder."""
        return self._folder is not None

    def follow(self) -> None:
        """Leave the folder to another process of the run, which has the same journal."""
        self._folder = None
        self._began = self._last_write = time.monotonic()

    def finish(self, phase: str, state: dict[str, Any]) -> None:
        """Note that a phase has ended, and how it left the model."""
        self.finished.append(phase)
        self.boundary = state
        self._write_boundary()

    def remember(self, key: str, value: Any) -> None:
        """Store the result of closed-form work."""
        self.once[key] = value
        self._write_boundary()

    def write_progress(self, place: dict[str, Any], state: dict[str, Any]) -> None:
        """Store a moment inside a phase."""
        if self._folder is not None:
            tree = {"on": self._place(), **place, "state": state, **self._common()}
            write_tree(self._folder / "progress.safetensors", tree)
            self._last_write = time.monotonic()

    def take_progress(self, phase: str) -> dict[str, Any] | None:
        """Return the stored moment of a phase, once."""
        progress, self._progress = self._progress, None
        return progress if progress is not None and progress["phase"] == phase else None

    def _write_boundary(self) -> None:
        if self._folder is not None:
            tree = {"finished": self.finished, "once": self.once, "state": self.boundary, **self._common()}
            write_tree(self._folder / "boundary.safetensors", tree)
            self._last_write = time.monotonic()

    def _common(self) -> dict[str, Any]:
        reached = {"history": self.history, "events": self.events, "elapsed": self.elapsed}
        return {"fingerprint": self.fingerprint, **reached}

    def _place(self) -> list[list[str]]:
        return [self.finished, list(self.once)]

    def _read(self) -> dict[str, Any] | None:
        """Take up what is stored; return the progress that belongs on top of it."""
        if self._folder is None:
            return None
        boundary = read_tree(self._folder / "boundary.safetensors")
        progress: dict[str, Any] | None = read_tree(self._folder / "progress.safetensors")
        for stored in (boundary, progress):
            if stored is not None and stored["fingerprint"] != self.fingerprint:
                raise CheckpointError(
                    f"The checkpoint in {self._folder} is of another run: {self._difference(stored['fingerprint'])}. "
                    "Use another checkpoint_dir, or delete it."
                )
        if boundary is not None:
            self.finished, self.once, self.boundary = boundary["finished"], boundary["once"], boundary["state"]
        if progress is not None and progress["on"] != self._place():
            progress = None  # written before the boundary: the process ended between the two
        latest = progress or boundary
        if latest is not None:
            self.history, self.events = latest["history"], latest["events"]
            self._former_seconds = latest["elapsed"]
        return progress

    def _difference(self, theirs: dict[str, Any]) -> str:
        keys = [key for key in {**theirs, **self.fingerprint} if theirs.get(key) != self.fingerprint.get(key)]
        return "; ".join(f"its {key} is {theirs.get(key)}, not {self.fingerprint.get(key)}" for key in keys)
