"""Names that people give to clusters, and clusters that people join."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepclust.errors import InvalidDataError, InvalidParameterError, UnreadableFileError, shown

_LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class Naming:
    """What people made of k clusters: their names, and which are one.

    Clusters of one name are one: all their rows belong to the lowest of their numbers, whose probability is the sum of
    theirs. Numbers never change otherwise, so that what was written down before stays right.

    Attributes
    ----------
    names : tuple of k str
        Of every cluster.
    """

    names: tuple[str, ...]

    @classmethod
    def given(cls, names: Mapping[int, str], k: int, former: Naming | None = None) -> Self:
        """Check names and return them for all clusters; those that are not mentioned keep what they had.

        Parameters
        ----------
        names
            From numbers of clusters to names.
        k
            Number of clusters.
        former
            Names so far; without, a cluster's name is its number.

        Raises
        ------
        InvalidParameterError
            Where a number is not a cluster's, or a name is empty, longer than 200 characters, or not printable.
        """
        known = list(former.names) if former is not None else [str(c) for c in range(k)]
        for cluster, name in names.items():
            if isinstance(cluster, bool) or not isinstance(cluster, int) or not 0 <= cluster < k:
                raise InvalidParameterError(f"There is no cluster {shown(cluster)} to name; there are 0..{k - 1}.")
            if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST or not name.isprintable():
                raise InvalidParameterError(
                    f"The name of cluster {cluster} must be text of 1 to {_LONGEST} printable characters. "
                    f"Got {shown(name)}."
                )
            known[cluster] = name.strip()
        return cls(tuple(known))

    @property
    def into(self) -> tuple[int, ...]:
        """The cluster that each one's rows belong to: itself, or the lowest number of the same name."""
        first: dict[str, int] = {}
        return tuple(first.setdefault(name, cluster) for cluster, name in enumerate(self.names))

    @property
    def joins(self) -> bool:
        """Whether any clusters are one."""
        return len(set(self.names)) < len(self.names)

    def members(self, cluster: int) -> Int64[Tensor, " m"]:
        """Return the clusters that were joined in one, itself included."""
        return torch.tensor([c for c, home in enumerate(self.into) if home == cluster], dtype=torch.int64)

    def joined(self, proba: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Return probabilities after joining; clusters that are part of another have none."""
        if not self.joins:
            return proba
        home = torch.tensor(self.into, device=proba.device)
        return torch.zeros_like(proba).index_add_(1, home, proba)


def read_names(path: Path) -> dict[int, str]:
    """Read names from a CSV file with the columns ``cluster`` and ``name``.

    Raises
    ------
    UnreadableFileError
        Where there is no such file, or it is not UTF-8.
    InvalidDataError
        Where a column is missing, a line is not a number and a name, or a cluster comes twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFileError(f"{path} cannot be read as CSV: {error}.") from error
    names: dict[int, str] = {}
    for number, line in enumerate(lines, start=2):
        cluster, name = _cell(line, "cluster", path), _cell(line, "name", path)
        if not cluster.strip().isdecimal() or not name:
            raise InvalidDataError(
                f"Line {number} of {path} must hold the number of a cluster and a name. "
                f"Got {shown(cluster)} and {shown(name)}."
            )
        if int(cluster) in names:
            raise InvalidDataError(f"Line {number} of {path} names cluster {int(cluster)} a second time.")
        names[int(cluster)] = name
    if not names:
        raise InvalidDataError(f"{path} names no cluster. It must have the columns 'cluster' and 'name', and lines.")
    return names


def _cell(line: dict[str, Any], column: str, path: Path) -> str:
    if column not in line:
        raise InvalidDataError(f"{path} must have the columns 'cluster' and 'name'. Got {', '.join(map(repr, line))}.")
    return line[column] or ""
