"""Every error that deepclust raises on purpose; each carries one sentence a user can act on."""

from __future__ import annotations

import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200  # characters
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20


def shown(value: Any) -> str:
    """Return a value as a message shows it: on one line, and not longer than people read."""
    text = " ".join(_SHORT.repr(value).split())
    return text if len(text) <= 300 else f"{text[:297]}..."


class DeepclustError(Exception):
    """Base of all errors that deepclust raises on purpose."""


class InvalidParameterError(DeepclustError, ValueError, TypeError):
    """A parameter has a value that its annotation does not allow."""


class InvalidDataError(DeepclustError, ValueError):
    """The data cannot be clustered as they are."""


class UnreadableFileError(InvalidDataError):
    """A file is missing, truncated, or not of the format that its name promises."""


class DownloadError(DeepclustError, OSError):
    """A public data set could not be fetched."""


class DivergenceError(DeepclustError, ArithmeticError):
    """Training produced a value that is not finite."""


class CheckpointError(DeepclustError, ValueError):
    """A checkpoint is broken or belongs to another run."""


class ModelFormatError(DeepclustError, ValueError):
    """A saved model is missing, corrupted, or of an unknown version."""


class RunFolderError(DeepclustError, ValueError):
    """A run folder exists already, is missing, or holds another run."""


class NotSupportedError(DeepclustError, AttributeError):
    """The model cannot do what was asked, by its nature."""


class MissingExtraError(DeepclustError, ImportError):
    """An optional package is needed and not installed."""


class InterruptedRun(DeepclustError):  # noqa: N818  -- it is a state of the run, not a fault
    """A run was asked to stop; its checkpoint has been written."""


class LostProcessError(InterruptedRun):
    """Another process of the same run has ended."""
