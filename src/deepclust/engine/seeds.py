"""Every random stream is a function of where it is used, so that no generator state needs to be stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state


def derive_seed(seed: int, *place: object) -> int:
    """Return a seed for a place, such as (phase, epoch, step); 63 bits."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def integer_seed(random_state: Any) -> int:
    """Draw one integer from what the user gave, without touching NumPy's global state when that is None."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, (int, np.integer)):
        return int(random_state) % 2**31
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextmanager
def isolated_random_state() -> Iterator[None]:
    """Leave the caller's global random state of torch as it was found."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
