"""From the formats of former versions to the present one, a version at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from deepclust.errors import ModelFormatError, shown

VERSION = 2


class Migration(NamedTuple):
    """From one version to the next: what becomes of the manifest, and of the weights."""

    manifest: Callable[[dict[str, Any]], dict[str, Any]]
    weights: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda weights: weights


# By the version that it starts from; a later version adds a line here, and the former one's fixtures stay in the tests.
# Version 2 has a seal, and nothing else is new.
MIGRATIONS: dict[int, Migration] = {1: Migration(lambda manifest: manifest)}


def steps_from(version: Any, path: Any) -> list[Migration]:
    """Return the migrations from a version to the present one.

    Raises
    ------
    ModelFormatError
        Where the version is later than the present one, or unknown.
    """
    known = isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= VERSION
    if not known:
        raise ModelFormatError(
            f"{path} has format version {shown(version)}; this deepclust reads version {VERSION} and those before. "
            "Upgrade deepclust."
        )
    return [MIGRATIONS[number] for number in range(version, VERSION)]
