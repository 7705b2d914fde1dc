"""From the formats of former versions to the present one, a version at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from torch import Tensor

from deepclust.errors import ModelFormatError, shown

VERSION = 3


class Migration(NamedTuple):
    """From one version to the next: what becomes of the manifest, and of the weights.

    Weights come with the names that the model of the present version has; a user's own modules are theirs to name.
    """

    manifest: Callable[[dict[str, Any]], dict[str, Any]] = lambda manifest: manifest
    weights: Callable[[dict[str, Tensor], Collection[str]], dict[str, Tensor]] = lambda weights, present: weights


def _without_biases(weights: dict[str, Tensor], present: Collection[str]) -> dict[str, Tensor]:
    """Take a bias that the next layer's normalisation takes away off the mean that this one subtracts."""
    kept = dict(weights)
    for name in weights.keys() - set(present):
        layer, _, kind = name.rpartition(".")
        place, _, number = layer.rpartition(".")
        mean = f"{place}.{int(number) + 1}.running_mean" if kind == "bias" and number.isdecimal() else ""
        if mean in weights and mean in present and weights[mean].shape == weights[name].shape:
            kept[mean] = weights[mean] - kept.pop(name)
    return kept


# By the version that it starts from; a later version adds a line here, and the former one's fixtures stay in the tests.
# Version 2 has a seal, and nothing else is new; version 3 has no biases before normalisation over the batch.
MIGRATIONS: dict[int, Migration] = {1: Migration(), 2: Migration(weights=_without_biases)}


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
