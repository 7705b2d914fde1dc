"""The registry: one line a method. Tests, command line, documentation and benchmark read it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from deepclust.errors import InvalidParameterError
from deepclust.storage import load_estimator


@dataclass(frozen=True)
class Entry:
    """A registered method."""

    name: str
    module: str
    class_name: str
    summary: str
    kind: Literal["deep", "baseline"] = "deep"

    def load(self) -> Any:
        """Import and return the estimator class."""
        return getattr(import_module(f"deepclust.methods.{self.module}"), self.class_name)


_ENTRIES = (
    Entry("two_stage", "two_stage", "TwoStage", "auto-encoder or VAE, then k-means, a mixture or a spectral cut"),
    Entry("vade", "vade", "VaDE", "variational auto-encoder with a Gaussian mixture as its prior"),
)
METHODS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def find_method(name: str) -> Any:
    """Return the estimator class that is registered under a name.

    Raises
    ------
    InvalidParameterError
        Naming the registered methods.
    """
    if name not in METHODS:
        raise InvalidParameterError(f"There is no method {name!r}; there are: {', '.join(METHODS)}.")
    return METHODS[name].load()


def load(path: str | Path, *, network: Any = None) -> Any:
    """Read a fitted estimator that ``save`` wrote. Nothing in the folder is executed.

    Parameters
    ----------
    path
        The folder.
    network
        The user's own ``(encoder, decoder)``, where the estimator was made from such.
    """
    by_class = {entry.class_name: entry for entry in METHODS.values()}
    given = {} if network is None else {"network": network}
    return load_estimator(Path(path), lambda name: by_class[name].load(), **given)
