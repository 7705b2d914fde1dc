"""The manifest's checksum of itself: the SHA-256 of its bytes with zeros where the checksum stands."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from deepclust.errors import ModelFormatError

_KEY = "seal"
_BLANK = "0" * 64


def sealed(manifest: dict[str, Any]) -> bytes:
    """Return a manifest as JSON that carries its own checksum, before anything else: other values may look like it."""
    rest = {key: value for key, value in manifest.items() if key != _KEY}
    content = json.dumps({_KEY: _BLANK, **rest}, indent=1, allow_nan=False).encode()
    return content.replace(_BLANK.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def check_seal(content: bytes, manifest: dict[str, Any], file: str) -> None:
    """Refuse a manifest of which a single byte is not as it was written. The first format had no seal.

    Raises
    ------
    ModelFormatError
        Where the seal is missing or does not fit.
    """
    seal = manifest.get(_KEY)
    if seal is None and manifest.get("version") == 1:
        return
    fits = isinstance(seal, str) and len(seal) == len(_BLANK)
    if fits:
        fits = hashlib.sha256(content.replace(str(seal).encode(), _BLANK.encode(), 1)).hexdigest() == seal
    if not fits:
        raise ModelFormatError(f"{file} is corrupted: it does not have the checksum that it states.")
