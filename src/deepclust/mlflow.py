"""A fitted model as an MLflow model, by the flavour that every MLflow tool loads: ``python_function``.

Needs the extra ``mlflow``. What is stored is the safe format of `deepclust.load`, not a pickle.
"""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from deepclust.data.tables import TableEncoder
from deepclust.errors import MissingExtraError
from deepclust.methods import load
from deepclust.runs import Run

__all__ = ["log_model", "save_model"]

_MODEL, _TABLE = "model", "table.json"


def save_model(model: Any, path: str | Path, *, encoder: TableEncoder | None = None, **options: Any) -> None:
    """Write a folder that ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` take.

    Parameters
    ----------
    model
        A fitted estimator, or a finished `deepclust.runs.Run`, whose table is then read as the run read it.
    path
        The folder; it must not exist.
    encoder
        How a table is made into numbers before it comes to the estimator.
    options
        For ``mlflow.pyfunc.save_model``, such as ``signature`` or ``input_example``.
    """
    pyfunc = _pyfunc()
    with tempfile.TemporaryDirectory() as folder:
        pyfunc.save_model(path=str(path), **_stored(model, encoder, Path(folder)), **options)


def log_model(model: Any, name: str, *, encoder: TableEncoder | None = None, **options: Any) -> Any:
    """Log a model to the active MLflow run; parameters are those of `save_model`.

    Returns
    -------
    ModelInfo
        MLflow's, with the address that ``mlflow.pyfunc.load_model`` takes.
    """
    pyfunc = _pyfunc()
    with tempfile.TemporaryDirectory() as folder:
        return pyfunc.log_model(name=name, **_stored(model, encoder, Path(folder)), **options)


def _pyfunc() -> Any:
    try:
        import mlflow.pyfunc
    except ImportError as error:
        raise MissingExtraError(
            f"This needs the package {error.name}, which is not installed: pip install 'deepclust[mlflow]'."
        ) from error
    return mlflow.pyfunc


def _stored(model: Any, encoder: TableEncoder | None, folder: Path) -> dict[str, Any]:
    if isinstance(model, Run):
        model, encoder = model.load_model(), encoder or model.load_encoder()
    data = folder / "data"
    model.save(data / _MODEL)
    if encoder is not None:
        (data / _TABLE).write_text(json.dumps({"columns": encoder.columns_}))
    requirements = [f"deepclust=={version('deepclust')}"]
    return {"loader_module": __name__, "data_path": str(data), "pip_requirements": requirements}


class _Predictor:
    """What MLflow calls: rows in, a table of cluster, its name and its probability out."""

    def __init__(self, estimator: Any, encoder: TableEncoder | None) -> None:
        self.estimator, self.encoder = estimator, encoder

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        import pandas as pd

        X = model_input
        if self.encoder is not None:
            X = self.encoder.transform(model_input)
        elif isinstance(model_input, pd.DataFrame) and len(self.estimator.layout_.shape) > 1:
            X = model_input.to_numpy().reshape(-1, *self.estimator.layout_.shape)
        proba = self.estimator.predict_proba(X)
        cluster = proba.argmax(axis=1).astype(np.int64)
        told = {"cluster": cluster, "probability": proba.max(axis=1).astype(np.float64)}
        if self.estimator.naming_ is not None:
            told["cluster_name"] = [self.estimator.naming_.names[c] for c in cluster.tolist()]
        return pd.DataFrame(told)


def _load_pyfunc(path: str) -> _Predictor:
    """Load what `save_model` stored; MLflow calls this by its name."""
    folder = Path(path)
    encoder = None
    if (folder / _TABLE).is_file():
        encoder = TableEncoder.of(json.loads((folder / _TABLE).read_bytes())["columns"])
    return _Predictor(load(folder / _MODEL), encoder)
