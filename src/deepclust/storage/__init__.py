"""A saved model is a folder, or one zip file, of safetensors and JSON: nothing in it can run code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepclust.atomic import atomic_file, atomic_folder
from deepclust.data.rows import Layout, Spec
from deepclust.errors import ModelFormatError, shown
from deepclust.networks.scaler import Scaler
from deepclust.params import AbstractParameters, check_parameters, defaults, described
from deepclust.result import ClusterResult
from deepclust.storage.containers import (
    FILES,
    MANIFEST,
    RESULT,
    WEIGHTS,
    AbstractContainer,
    is_model,
    open_container,
    pack,
)
from deepclust.storage.migrations import VERSION, Migration, steps_from
from deepclust.storage.seal import check_seal, sealed
from deepclust.tensorfile import write_tensors

FORMAT = "deepclust-model"
ARCHIVE = ".zip"
_LONGEST = 10_000  # entries of a parameter; a network of more layers is nobody's
_DEEPEST = 20  # parameters inside parameters


def describe_params(estimator: Any) -> dict[str, Any]:
    """Return an estimator's parameters as JSON values; what only its user has becomes ``{"$user": type}``."""
    return {name: _describe(value) for name, value in estimator.get_params(deep=False).items()}


def _describe(value: Any) -> Any:
    if isinstance(value, AbstractParameters):
        fields = {name: _describe(item) for name, item in described(value).items()}
        return {"$type": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        items = [_describe(item) for item in value]
        return {"$user": "modules"} if any(isinstance(i, dict) and "$user" in i for i in items) else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    return {"$user": type(value).__name__}


def _restore(value: Any, name: str, given: dict[str, Any], default: Any, depth: int = 0) -> Any:
    if isinstance(value, (list, dict)) and (len(value) > _LONGEST or depth > _DEEPEST):
        raise ModelFormatError(f"Parameter {shown(name)} is longer or deeper than any that a model has.")
    if isinstance(value, list):
        return tuple(_restore(item, name, given, default, depth + 1) for item in value)
    if not isinstance(value, dict):
        return value
    if "$user" in value:
        if name == "network" and name not in given:
            raise ModelFormatError(
                "This model was built from modules of your own, which a file cannot hold. "
                "Pass them again: load(path, network=(encoder, decoder))."
            )
        return given.get(name, default)
    fields = dict(value)
    made = _parameter_classes().get(str(fields.pop("$type", "")))
    if made is None:
        kind = shown(value.get("$type"))
        raise ModelFormatError(f"Parameter {shown(name)} is of type {kind}, which this version lacks.")
    default = defaults(made)
    return made(**{key: _restore(item, key, given, default.get(key), depth + 1) for key, item in fields.items()})


def _parameter_classes() -> dict[str, type[AbstractParameters]]:
    found: dict[str, type[AbstractParameters]] = {}
    queue = list(AbstractParameters.__subclasses__())
    while queue:
        kind = queue.pop()
        queue += kind.__subclasses__()
        if kind.__module__.startswith("deepclust."):
            found[kind.__name__] = kind
    return found


def save_estimator(estimator: Any, path: Path, *, overwrite: bool) -> Path:
    """Write a fitted estimator to a folder, or where the name ends in ``.zip`` to one file; whole or not at all."""
    if path.exists() and not overwrite:
        raise ModelFormatError(f"{path} exists. Choose another path, or pass overwrite=True.")
    if path.exists() and not is_model(path):
        raise ModelFormatError(f"{path} is not a saved model, so it is not overwritten. Choose another path.")
    is_archive = path.suffix.lower() == ARCHIVE
    if path.exists() and path.is_dir() == is_archive:
        raise ModelFormatError(f"{path} is a {'folder' if is_archive else 'file'}, so it stays. Choose another path.")
    if not is_archive:
        with atomic_folder(path) as part:
            _write_files(estimator, part)
        return path
    with atomic_file(path) as part, tempfile.TemporaryDirectory(dir=path.parent, prefix=".deepclust-") as folder:
        _write_files(estimator, Path(folder))
        pack({name: Path(folder) / name for name in FILES}, part)
    return path


def _write_files(estimator: Any, folder: Path) -> None:
    weights = {f"model.{name}": value for name, value in estimator.model_.state_dict().items()}
    weights |= {f"scaler.{name}": value for name, value in estimator.scaler_.state_dict().items()}
    write_tensors({name: value.contiguous().clone() for name, value in weights.items()}, folder / WEIGHTS)
    write_tensors(_result_tensors(estimator.result_), folder / RESULT)
    (folder / MANIFEST).write_bytes(sealed(_manifest(estimator, folder)))


def _result_tensors(result: ClusterResult) -> dict[str, torch.Tensor]:
    arrays = {"labels": result.labels, "proba": result.proba, "embedding": result.embedding}
    if result.start_labels is not None:
        arrays["start_labels"] = result.start_labels
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


def _manifest(estimator: Any, folder: Path) -> dict[str, Any]:
    result = estimator.result_
    names = getattr(estimator, "feature_names_in_", None)
    naming = {} if estimator.naming_ is None else {"cluster_names": list(estimator.naming_.names)}
    return {
        **naming,
        "format": FORMAT,
        "version": VERSION,
        "class": type(estimator).__name__,
        "parameters": describe_params(estimator),
        "spec": dataclasses.asdict(estimator.spec_),
        "layout": dataclasses.asdict(estimator.layout_),
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": None if names is None else [str(name) for name in names],
        "history": result.history,
        "events": result.events,
        "provenance": result.provenance,
        "sha256": {name: _sha256(folder / name) for name in (WEIGHTS, RESULT)},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_estimator(path: Path, find_class: Callable[[str], type], **given: Any) -> Any:
    """Read an estimator back.

    Parameters
    ----------
    path
        The folder or the zip file.
    find_class
        Returns the estimator class of a name, or raises KeyError.
    given
        Parameters that a file cannot hold, such as the user's own network.

    Raises
    ------
    ModelFormatError
        Where the path is not a saved model, is corrupted, or of an unknown version.
    """
    container = open_container(path)
    manifest = _read_manifest(container)
    migrations = steps_from(manifest.get("version"), path)
    try:
        for migration in migrations:
            manifest = migration.manifest(manifest)
        _require_whole(manifest, path)
        cls = _class(manifest["class"], find_class, path)
        return _assemble(cls, manifest, migrations, container, given)
    except ModelFormatError:
        raise
    except Exception as error:  # what a manifest can make go wrong has no end
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ModelFormatError(f"{path} does not hold a whole model: {reason}.") from error


def _class(name: Any, find_class: Callable[[str], type], path: Path) -> type:
    try:
        return find_class(name)
    except (KeyError, TypeError) as error:
        raise ModelFormatError(f"{path} is a {shown(name)}, a method that this version lacks.") from error


def _read_manifest(container: AbstractContainer) -> dict[str, Any]:
    file = f"{container.path}: {MANIFEST}"
    content = container.manifest()
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{file} is corrupted: it is not JSON ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFormatError(f"{file} is not the manifest of a deepclust model.")
    check_seal(content, manifest, file)
    return manifest


def _require_whole(manifest: dict[str, Any], path: Path) -> None:
    needed = {"class", "parameters", "spec", "layout", "sha256", "n_features_in", "history", "events", "provenance"}
    missing = needed - manifest.keys()
    if missing or not isinstance(manifest["sha256"], dict) or set(manifest["sha256"]) != {WEIGHTS, RESULT}:
        what = ", ".join(sorted(missing)) or "sha256"
        raise ModelFormatError(f"{path}: {MANIFEST} is corrupted: {what} is incomplete.")


def _assemble(
    cls: type, manifest: dict[str, Any], migrations: list[Migration], container: AbstractContainer, given: Any
) -> Any:
    default = defaults(cls)
    params = {name: _restore(value, name, given, default[name]) for name, value in manifest["parameters"].items()}
    estimator = cls(**params)
    check_parameters(estimator)
    arrays: dict[str, Any] = {
        name: value.numpy() for name, value in container.tensors(RESULT, manifest["sha256"][RESULT]).items()
    }
    _check_result(arrays, estimator.n_clusters)
    estimator.spec_ = Spec(**{**manifest["spec"], "shape": _shape(manifest["spec"]["shape"])})
    estimator.layout_ = Layout(**{**manifest["layout"], "shape": _shape(manifest["layout"]["shape"])})
    if estimator.layout_.network_shape != estimator.spec_.shape:
        raise ModelFormatError(f"{container.path}: {MANIFEST} is corrupted: layout and spec do not agree.")
    with torch.device("meta"):  # nothing is allocated before the shapes are known to agree with the file's
        model = estimator._build(estimator.spec_)
    fresh = {f"model.{name}": value for name, value in model.state_dict().items()}
    weights = container.tensors(WEIGHTS, manifest["sha256"][WEIGHTS])
    for migration in migrations:
        weights = migration.weights(weights, fresh.keys())
    estimator.scaler_ = Scaler.blank(weights, "scaler.")
    estimator.scaler_.load_state_dict(_under("scaler.", weights))
    state = _under("model.", {name: _laid_out_as(value, fresh.get(name)) for name, value in weights.items()})
    model.load_state_dict(state, assign=True)
    estimator.model_ = model.eval()
    extra: dict[str, Any] = {key: manifest[key] for key in ("history", "events", "provenance")}
    estimator.result_ = ClusterResult(**arrays, **extra)
    estimator.labels_, estimator.naming_ = estimator.result_.labels, None
    if "cluster_names" in manifest:
        estimator.relabel(dict(enumerate(manifest["cluster_names"])))
    estimator.n_features_in_ = estimator.spec_.size
    if manifest.get("feature_names_in") is not None:
        estimator.feature_names_in_ = np.asarray([str(name) for name in manifest["feature_names_in"]], dtype=object)
    return estimator


def _laid_out_as(value: torch.Tensor, like: torch.Tensor | None) -> torch.Tensor:
    """Lay a stored tensor out in memory as the fitted model has it: convolutions sum in another order otherwise."""
    if like is None or like.shape != value.shape or like.stride() == value.stride():
        return value
    return torch.empty_strided(like.shape, like.stride(), dtype=value.dtype).copy_(value)


def _shape(value: Any) -> tuple[int, ...]:
    whole = isinstance(value, list) and 1 <= len(value) <= 3
    if not whole or any(type(side) is not int or not 0 < side < 2**31 for side in value):
        raise ModelFormatError(f"{shown(value)} is not the shape of a row.")
    return tuple(value)


def _check_result(arrays: dict[str, Any], k: int) -> None:
    """Refuse results that do not go together: labels in range, a probability for every cluster, a code a row."""
    proba, labels, codes = arrays["proba"], arrays["labels"], arrays["embedding"]
    if proba.ndim != 2 or proba.shape[1] != k or codes.ndim != 2 or not len(proba) == len(codes) == len(labels):
        raise ModelFormatError(f"{RESULT} has labels, probabilities and codes that do not go together.")
    starts = arrays.get("start_labels", labels)
    if labels.dtype != np.int64 or labels.shape != starts.shape or ((labels < 0) | (labels >= k)).any():
        raise ModelFormatError(f"{RESULT} has labels that are not clusters.")


def _under(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
