"""Every random stream is a function of where it is used, so that no generator state needs to be stored."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *place: object) -> int:
    """Return a seed for a place, such as (phase, epoch, step); 63 bits."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
