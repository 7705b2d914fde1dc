"""A saved model is a folder of safetensors and JSON: nothing in it can run code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file

from deepclust.atomic import atomic_folder
from deepclust.data.rows import Layout, Spec
from deepclust.errors import ModelFormatError
from deepclust.networks.scaler import Scaler
from deepclust.params import AbstractParameters, defaults, described
from deepclust.result import ClusterResult
from deepclust.tensorfile import write_tensors

FORMAT = "deepclust-model"
VERSION = 1
_MANIFEST, _WEIGHTS, _RESULT = "model.json", "weights.safetensors", "result.safetensors"
_MANIFEST_LIMIT = 64 << 20  # bytes


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


def _restore(value: Any, name: str, given: dict[str, Any], default: Any) -> Any:
    if isinstance(value, list):
        return tuple(_restore(item, name, given, default) for item in value)
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
    kind = _parameter_classes().get(str(fields.pop("$type", "")))
    if kind is None:
        raise ModelFormatError(f"Parameter {name!r} is of type {value.get('$type')!r}, which this version lacks.")
    default = defaults(kind)
    return kind(**{key: _restore(item, key, given, default.get(key)) for key, item in fields.items()})


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
    """Write a fitted estimator to a folder, whole or not at all."""
    if path.exists() and not overwrite:
        raise ModelFormatError(f"{path} exists. Choose another path, or pass overwrite=True.")
    if path.exists() and not (path / _MANIFEST).is_file():
        raise ModelFormatError(f"{path} is not a saved model, so it is not overwritten. Choose another path.")
    with atomic_folder(path) as part:
        weights = {f"model.{name}": value for name, value in estimator.model_.state_dict().items()}
        weights |= {f"scaler.{name}": value for name, value in estimator.scaler_.state_dict().items()}
        write_tensors({name: value.contiguous().clone() for name, value in weights.items()}, part / _WEIGHTS)
        write_tensors(_result_tensors(estimator.result_), part / _RESULT)
        manifest = _manifest(estimator, part)
        (part / _MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False))
    return path


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
        "sha256": {name: _sha256(folder / name) for name in (_WEIGHTS, _RESULT)},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_estimator(path: Path, find_class: Callable[[str], type], **given: Any) -> Any:
    """Read an estimator back.

    Parameters
    ----------
    path
        The folder.
    find_class
        Returns the estimator class of a name, or raises KeyError.
    given
        Parameters that a file cannot hold, such as the user's own network.

    Raises
    ------
    ModelFormatError
        Where the folder is not a saved model, is corrupted, or of an unknown version.
    """
    manifest = _read_manifest(path)
    try:
        cls = find_class(manifest["class"])
    except KeyError as error:
        raise ModelFormatError(f"{path} is a {manifest['class']!r}, a method that this version lacks.") from error
    for name, digest in manifest["sha256"].items():
        _check_file(path / name, digest)
    try:
        return _assemble(cls, manifest, path, given)
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        if isinstance(error, ModelFormatError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFormatError(f"{path} does not hold a whole model: {reason}.") from error


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / _MANIFEST
    if not file.is_file():
        raise ModelFormatError(f"{path} is not a saved model: it has no {_MANIFEST}.")
    if file.stat().st_size > _MANIFEST_LIMIT:
        raise ModelFormatError(f"{file} is larger than any model's manifest; it is not read.")
    try:
        manifest = json.loads(file.read_bytes())
    except ValueError as error:
        raise ModelFormatError(f"{file} is corrupted: it is not JSON ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFormatError(f"{file} is not the manifest of a deepclust model.")
    if manifest.get("version") != VERSION:
        raise ModelFormatError(
            f"{path} has format version {manifest.get('version')!r}; this deepclust reads version {VERSION}. "
            "Upgrade deepclust."
        )
    missing = {"class", "parameters", "spec", "layout", "sha256", "n_features_in"} - manifest.keys()
    if missing or set(manifest["sha256"]) != {_WEIGHTS, _RESULT}:
        raise ModelFormatError(f"{file} is corrupted: {', '.join(sorted(missing)) or 'sha256'} is incomplete.")
    return manifest


def _check_file(file: Path, digest: str) -> None:
    if not file.is_file():
        raise ModelFormatError(f"{file} is missing; the model is not whole.")
    if _sha256(file) != digest:
        raise ModelFormatError(f"{file} is corrupted: its checksum differs from the manifest's.")


def _assemble(cls: type, manifest: dict[str, Any], path: Path, given: dict[str, Any]) -> Any:
    default = defaults(cls)
    params = {name: _restore(value, name, given, default[name]) for name, value in manifest["parameters"].items()}
    estimator = cls(**params)
    spec = {**manifest["spec"], "shape": tuple(manifest["spec"]["shape"])}
    layout = {**manifest["layout"], "shape": tuple(manifest["layout"]["shape"])}
    estimator.spec_, estimator.layout_ = Spec(**spec), Layout(**layout)
    weights = load_file(path / _WEIGHTS)
    estimator.scaler_ = Scaler.blank(weights, "scaler.")
    estimator.scaler_.load_state_dict(_under("scaler.", weights))
    with torch.device("meta"):  # nothing is allocated before the shapes are known to agree with the file's
        model = estimator._build(estimator.spec_)
    model.load_state_dict(_under("model.", weights), assign=True)
    estimator.model_ = model.eval()
    arrays: dict[str, Any] = {name: value.numpy() for name, value in load_file(path / _RESULT).items()}
    extra = {key: manifest[key] for key in ("history", "events", "provenance")}
    estimator.result_ = ClusterResult(**arrays, **extra)
    estimator.labels_, estimator.naming_ = estimator.result_.labels, None
    if "cluster_names" in manifest:
        estimator.relabel(dict(enumerate(manifest["cluster_names"])))
    estimator.n_features_in_ = manifest["n_features_in"]
    if manifest["feature_names_in"] is not None:
        estimator.feature_names_in_ = np.asarray(manifest["feature_names_in"], dtype=object)
    return estimator


def _under(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
