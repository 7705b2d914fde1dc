"""What a benchmark is asked: methods with parameters, data sets, seeds, time limits, from a TOML file."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from deepclust.bench.problems import PROBLEMS
from deepclust.errors import InvalidParameterError, shown
from deepclust.methods import METHODS, Entry

PROTOCOLS = ("transductive", "train-test", "pretrained")
_PEERS = "deepclust.benchmark"  # the entry point group in which other packages offer methods to compare with
_TYPES: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str) and bool(re.fullmatch(r"\w[\w.-]*", value)),
    "method": lambda value: isinstance(value, str),
    "preset": lambda value: isinstance(value, str),
    "params": lambda value: isinstance(value, dict),
    "datasets": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "seeds": lambda value: type(value) is int and 1 <= value <= 1000,
    "max_seconds": lambda value: type(value) in (int, float) and value > 0,
    "protocol": lambda value: isinstance(value, str),
    "overview": lambda value: isinstance(value, bool),
}
_KEYS = set(_TYPES)


@dataclass(frozen=True)
class Configuration:
    """A named method with fixed settings.

    Attributes
    ----------
    name
        Of the records: the method's own for its defaults, else ``method-variant``.
    method
        Registry name.
    preset
        Named settings, such as ``"paper"``; its data set is the one that it runs on.
    params
        Settings that differ from defaults or preset; in a spec ``"none"`` is None, which TOML lacks.
    max_seconds
        Time limit of one seed; None is none.
    protocol
        ``"transductive"``: fitted and measured on all rows; ``"train-test"``: fitted on the publisher's training rows,
        measured on the test rows; ``"pretrained"``: fitted and measured on all rows, its networks pretrained on the
        training rows, which are not among them.
    in_overview
        Whether the overview of all data sets has a line for it; parts of a study only stand in their data set's table.
    """

    name: str
    method: str
    preset: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    max_seconds: float | None = None
    protocol: str = "transductive"
    in_overview: bool = True

    @property
    def variant(self) -> str:
        """What follows the method in the name; empty for the defaults."""
        return self.name.removeprefix(self.method).lstrip("-")


@dataclass(frozen=True)
class Task:
    """One configuration on one data set with one seed: one record."""

    configuration: Configuration
    dataset: str
    seed: int


@cache
def known_methods() -> dict[str, Entry]:
    """Return the registry, and what other installed packages add to it for comparison."""
    others = [entry for point in entry_points(group=_PEERS) for entry in point.load()]
    return {**{entry.name: entry for entry in others}, **METHODS}


def read_spec(path: Path) -> list[Task]:
    """Read a spec, check it, and list its tasks: small seeds first, so that every set has some record early.

    Raises
    ------
    InvalidParameterError
        Naming the entry and what is wrong with it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidParameterError(f"{path} cannot be read: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidParameterError(f"{path} is not TOML: {error}.") from error
    entries = content.get("run", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidParameterError(f"{path} must have entries [[run]]. Got run = {shown(entries)}.")
    tasks = [task for entry in entries for task in _tasks(entry, path)]
    if not tasks:
        raise InvalidParameterError(f"{path} names nothing to run: it needs entries [[run]].")
    order = list(PROBLEMS)
    return sorted(tasks, key=lambda task: (order.index(task.dataset), task.seed))


def _tasks(entry: dict[str, Any], path: Path) -> list[Task]:
    unknown = entry.keys() - _KEYS
    if unknown or not {"name", "datasets"} <= entry.keys():
        wrong = f"unknown keys {sorted(unknown)}" if unknown else "it needs 'name' and 'datasets'"
        raise InvalidParameterError(f"{path}, entry {entry.get('name', '?')!r}: {wrong}.")
    for key, value in entry.items():
        if not _TYPES[key](value):
            raise InvalidParameterError(f"{path}, entry {shown(entry['name'])}: {key!r} cannot be {shown(value)}.")
    name = entry["name"]
    method = entry.get("method", name)
    if method not in known_methods():
        raise InvalidParameterError(f"{path}, entry {name!r}: there is no method {method!r}.")
    for dataset in entry["datasets"]:
        if dataset not in PROBLEMS:
            raise InvalidParameterError(f"{path}, entry {name!r}: there is no data set {dataset!r}.")
    protocol = entry.get("protocol", PROTOCOLS[0])
    if protocol not in PROTOCOLS:
        raise InvalidParameterError(f"{path}, entry {name!r}: protocol must be one of {PROTOCOLS}. Got {protocol!r}.")
    problems = {dataset: PROBLEMS[dataset] for dataset in entry["datasets"]}
    split = [dataset for dataset, problem in problems.items() if problem.train_rows is None]
    if protocol == "train-test" and split:
        raise InvalidParameterError(f"{path}, entry {name!r}: {', '.join(split)} has no published split.")
    alone = [dataset for dataset, problem in problems.items() if problem.others is None]
    if protocol == "pretrained" and alone:
        raise InvalidParameterError(f"{path}, entry {name!r}: {', '.join(alone)} has no training rows of its own.")
    if protocol == "pretrained" and known_methods()[method].kind != "deep":
        raise InvalidParameterError(f"{path}, entry {name!r}: {method} has no networks to pretrain.")
    configuration = Configuration(
        name=name,
        method=method,
        preset=entry.get("preset"),
        params={key: None if value == "none" else value for key, value in entry.get("params", {}).items()},
        max_seconds=entry.get("max_seconds"),
        protocol=protocol,
        in_overview=entry.get("overview", True),
    )
    seeds = 1 if known_methods()[method].deterministic else entry.get("seeds", 5)
    return [Task(configuration, dataset, seed) for dataset in entry["datasets"] for seed in range(seeds)]


def config_hash(settings: dict[str, Any]) -> str:
    """Return a short fingerprint of a configuration's full parameters, seed and machine left out."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]
