"""One task in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from deepclust.atomic import atomic_file
from deepclust.base import AbstractDeepClusterer
from deepclust.bench.generation import generation_metrics
from deepclust.bench.problems import PROBLEMS
from deepclust.bench.spec import Configuration, Task, config_hash, known_methods
from deepclust.data.rows import as_rows
from deepclust.metrics import external_metrics, internal_metrics, representative_accuracy
from deepclust.metrics.external import held_out_accuracy
from deepclust.provenance import fingerprint_rows, machine, versions
from deepclust.storage import describe_params


def make_estimator(task: Task, n_clusters: int) -> Any:
    """Make the estimator of a task, with all settings but those of this process."""
    configuration, entry = task.configuration, known_methods()[task.configuration.method]
    if entry.kind != "deep":
        baseline = entry.load()(n_clusters, random_state=task.seed, **{**entry.params, **configuration.params})
        return _limited(baseline, configuration)
    cls = entry.load()
    if configuration.preset is None:
        estimator = cls(n_clusters, random_state=task.seed)
    else:
        estimator = cls.preset(configuration.preset, data=task.dataset, random_state=task.seed)
        estimator.set_params(n_clusters=n_clusters)
    params = {key: tuple(value) if isinstance(value, list) else value for key, value in configuration.params.items()}
    estimator.set_params(**params)
    return _limited(estimator, configuration)


def _limited(estimator: Any, configuration: Configuration) -> Any:
    if configuration.max_seconds is not None and isinstance(estimator, AbstractDeepClusterer):
        estimator.set_params(trainer__max_seconds=configuration.max_seconds)
    return estimator


def settings_of(estimator: Any) -> dict[str, Any]:
    """Return all settings that could change a result: parameters, without the seed and where a run is kept."""
    if not isinstance(estimator, AbstractDeepClusterer):
        params = estimator.get_params(deep=True)
        kinds = {key: type(value).__name__ for key, value in params.items() if hasattr(value, "get_params")}
        plain = {key: value for key, value in params.items() if isinstance(value, (bool, int, float, str, type(None)))}
        return {**kinds, **{key: value for key, value in plain.items() if "random_state" not in key}}
    params = describe_params(estimator)
    params.pop("random_state")
    for name in ("checkpoint_dir", "checkpoint_seconds", "cache_dir", "callbacks"):
        params["trainer"].pop(name)
    return params


def carry_out(task: Task, work: Path, networks: Path | None = None) -> dict[str, Any]:
    """Run a task and return its record. Labels are read after the fit, and by the metrics alone.

    Parameters
    ----------
    task
        What to run.
    work
        Folder of its checkpoint.
    networks
        Folder of pretrained networks that tasks share; None shares none.
    """
    problem = PROBLEMS[task.dataset]
    X, y = problem.load()
    split = problem.train_rows if task.configuration.protocol == "train-test" else None
    fit, new = slice(split), slice(split, None) if split else slice(None)
    estimator = make_estimator(task, problem.n_clusters)
    settings = settings_of(estimator)
    deep = isinstance(estimator, AbstractDeepClusterer)
    if deep:
        shared = None if networks is None else str(networks)
        estimator.set_params(trainer__checkpoint_dir=str(work / "checkpoint"), trainer__cache_dir=shared)
    others = problem.others if task.configuration.protocol == "pretrained" else None
    more = {} if others is None else {"pretrain_on": others()}
    is_resumed = any((work / "checkpoint").glob("*.safetensors"))
    began = time.perf_counter()
    labels = np.asarray(estimator.fit_predict(X[fit], **more), dtype=np.int64)
    seconds = time.perf_counter() - began
    found = np.asarray(estimator.predict(X[new]), dtype=np.int64) if split else labels
    record: dict[str, Any] = {
        "method": task.configuration.method,
        "variant": task.configuration.variant,
        "params": settings,
        "config_hash": config_hash(settings),
        "dataset": task.dataset,
        "protocol": task.configuration.protocol,
        "fit_rows": len(X[fit]),
        "eval_rows": len(y[new]),
        "seed": task.seed,
        "metrics": external_metrics(y[new], found),
        "start": None,
        "seconds": round(seconds, 2),
        "resumed": is_resumed,
        "phases": {},
        "pretrained": None,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": machine("cpu"),
        "versions": versions(*known_methods()[task.configuration.method].packages),
        "data_sha256": fingerprint_rows(as_rows(X)),
    }
    if split:
        record["metrics"]["held_out_accuracy"] = held_out_accuracy(y[fit], labels, y[new], found)
    if deep:
        record["metrics"] |= _deep_metrics(estimator, X[new], y[new])
        record["metrics"] |= generation_metrics(estimator, X[fit], y[fit], labels)
    else:
        record["metrics"] |= _used(found)
    return record | (_deep_parts(estimator, y[fit]) if deep else {})


def _deep_metrics(estimator: Any, X: Any, y: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return what needs probabilities or codes."""
    proba, codes = estimator.predict_proba(X), estimator.transform(X)
    found = internal_metrics(codes, proba.argmax(axis=1), proba)
    return found | {"aae_accuracy": representative_accuracy(y, proba)}


def _deep_parts(estimator: Any, y: npt.NDArray[np.int64]) -> dict[str, Any]:
    result = estimator.result_
    phases: dict[str, float] = {}
    for line in result.history:
        phases[line["phase"]] = phases.get(line["phase"], 0.0) + line["seconds"]
    taken = [event for event in result.events if event["kind"] == "taken over"]
    return {
        "start": None if result.start_labels is None else external_metrics(y, result.start_labels),
        "phases": {phase: round(seconds, 2) for phase, seconds in phases.items()},
        "pretrained": taken[0]["network"] if taken else None,
        "seconds": round(result.provenance["seconds"] + sum(event["seconds"] for event in taken), 2),
        "device": result.provenance["machine"] | {"precision": result.provenance["precision"]},
        "events": result.events,
        **({"pretrain_data_sha256": other} if (other := result.provenance["pretrain_data_sha256"]) else {}),
    }


def _used(labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {"n_clusters_used": len(np.unique(labels[labels >= 0]))}


def main(request_path: str, out: str, log: str, threads: int) -> None:
    """Read a request, carry it out with so many threads, write the record in one step; what it prints is logged."""
    end_with_parent()
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # For libraries that are loaded from here on, and for those that are here already.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)))
    torch.set_num_threads(threads)
    request = json.loads(Path(request_path).read_text())
    task = Task(Configuration(**request["configuration"]), request["dataset"], request["seed"])
    with threadpool_limits(threads):
        record = carry_out(task, Path(request["work"]), Path(request["networks"]))
    with atomic_file(Path(out)) as part:
        part.write_text(json.dumps(record))


def end_with_parent() -> None:
    """End this process as soon as the one that wants its record is gone, however it went; checkpoints stay."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
