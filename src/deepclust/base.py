"""The estimator that every deep method is: `fit` is written once, methods supply a model and a recipe."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from deepclust import together
from deepclust.data.rows import Rows, Spec, as_rows, as_rows_like
from deepclust.data.stored import as_stored
from deepclust.engine.inference import map_rows
from deepclust.engine.schedule import Schedule
from deepclust.engine.seeds import derive_seed, integer_seed, isolated_random_state
from deepclust.engine.session import Session
from deepclust.engine.trainer import Trainer
from deepclust.errors import DivergenceError, InvalidDataError, InvalidParameterError, NotSupportedError
from deepclust.generation import GenerationMixin
from deepclust.metrics import effective_clusters
from deepclust.model import AbstractClusterModel, AbstractVariationalModel
from deepclust.naming import Naming
from deepclust.networks.scaler import Scaler, Scaling
from deepclust.params import AbstractParameters, apply_params, check_parameters, defaults
from deepclust.provenance import fingerprint_rows, machine, versions
from deepclust.result import ClusterResult
from deepclust.storage import describe_params, save_estimator
from deepclust.updating import UpdateMixin

Array = npt.NDArray[Any]

_LEFT = 0.8  # of the effective number of clusters; fewer is told


class AbstractDeepClusterer(
    GenerationMixin, UpdateMixin, ClusterMixin, TransformerMixin, ClassNamePrefixFeaturesOutMixin, BaseEstimator, ABC
):
    """A deep clustering method behind scikit-learn's interface.

    A method's own file supplies three things: `_scaling` (how rows enter the network), `_build` (the model) and
    `_recipe` (the algorithm box). Everything a user calls is here.

    Attributes
    ----------
    labels_ : (n,) int64
        Cluster of every training row; the same as ``predict`` on those rows.
    result_ : ClusterResult
        Labels, probabilities, codes, history, provenance, as training left them.
    naming_ : Naming or None
        Names that `relabel` gave to clusters; clusters of one name are one.
    model_ : AbstractClusterModel
        The trained network, on the CPU.
    n_features_in_ : int
        Values in a row.
    """

    n_clusters: int
    trainer: Trainer
    n_init: int
    random_state: Any
    channels: Any

    presets: ClassVar[Mapping[str, Callable[[str | None], dict[str, Any]]]] = {}

    @abstractmethod
    def _scaling(self, spec: Spec) -> Scaling:
        """Say how rows are scaled for the network."""

    @abstractmethod
    def _build(self, spec: Spec) -> AbstractClusterModel:
        """Make the untrained model for rows of this kind."""

    @abstractmethod
    def _recipe(self, model: Any, session: Session) -> None:
        """Train the model: the algorithm box of the paper, in phases."""

    def _check(self, spec: Spec) -> None:
        """Check what depends on both parameters and data."""

    @final
    def fit(self, X: Any, y: Any = None, *, pretrain_on: Any = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X
            Rows; see `deepclust.data.rows.as_rows` for what is taken.
        y
            Ignored, and never looked at: clustering uses no labels.
        pretrain_on
            Rows like X on which the network is pretrained in place of X; they are not clustered. None pretrains on X.

        Returns
        -------
        self
        """
        check_parameters(self)
        rows = self._rows(X, reset=True)
        self._check_rows(rows)
        others = None if pretrain_on is None else as_rows_like(pretrain_on, rows, owner=type(self).__name__)
        if others is not None:  # the network must know the range of both
            low, high = min(rows.spec.low, others.spec.low), max(rows.spec.high, others.spec.high)
            rows = dataclasses.replace(rows, spec=dataclasses.replace(rows.spec, low=low, high=high))
        together.begin(self.trainer.resolve_device())
        scaler = Scaler.fit(rows, self._scaling(rows.spec))
        with isolated_random_state(), together.lost_processes_named():
            seed = together.from_first(lambda: integer_seed(self.random_state))
            session = self.trainer.start(rows, scaler, seed, self._fingerprint(rows, seed, others))
            session.n_clusters, session.pretrain_rows = self.n_clusters, others
            model = self._best_of_attempts(rows.spec, session)
            proba, embedding = session.map(lambda x: (model.assign(x), model.embed(x)), model)
        if not (torch.isfinite(proba).all() and torch.isfinite(embedding).all()):
            raise DivergenceError(
                f"{type(self).__name__} ended with probabilities or codes that are not finite. Lower the learning rate "
                "of its schedule, or check the scale of the data."
            )
        self._keep_fitted(rows, scaler, model.to("cpu").eval())
        labels = _labels(proba)
        _note_run_together(session, labels, proba.shape[1])
        self.result_ = ClusterResult(
            labels=labels,
            proba=proba.numpy(),
            embedding=embedding.numpy(),
            start_labels=None if session.start_labels is None else session.start_labels.numpy(),
            history=session.history,
            events=session.events,
            provenance=self._provenance(session),
        )
        self.labels_ = self.result_.labels
        self.naming_ = None
        return self

    def _best_of_attempts(self, spec: Spec, session: Session) -> Any:
        """Run the recipe ``n_init`` times and keep the model with the best score on all rows; no labels are used."""
        if self.n_init == 1:
            return self._attempt(spec, session)
        outcomes = []
        for number in range(self.n_init):
            with session.attempt(number):
                outcomes.append(session.once("outcome", lambda: self._outcome(spec, session)))
        best = max(range(self.n_init), key=lambda number: outcomes[number]["score"])
        session.note("attempts", scores=[outcome["score"] for outcome in outcomes], kept=best)
        session.start_labels = outcomes[best]["start"]
        model = self._build(spec)
        model.load_state_dict(outcomes[best]["model"])
        return model

    def _attempt(self, spec: Spec, session: Session) -> AbstractClusterModel:
        torch.manual_seed(derive_seed(session.seed, "build"))
        model = self._build(spec)
        self._recipe(model, session)
        return model

    def _outcome(self, spec: Spec, session: Session) -> dict[str, Any]:
        model = self._attempt(spec, session)
        score = session.map(model.score, model).double().mean()
        return {"score": float(score), "model": dict(model.state_dict()), "start": session.start_labels}

    def _keep_fitted(self, rows: Rows, scaler: Scaler, model: AbstractClusterModel) -> None:
        self.model_ = model
        self.scaler_ = scaler
        self.spec_ = rows.spec
        self.layout_ = rows.layout

    def _fingerprint(self, rows: Rows, seed: int, others: Rows | None) -> dict[str, Any]:
        """Say what a checkpoint must agree on to be this fit's; how it is run does not count."""
        params = describe_params(self)
        params.pop("random_state", None)
        for name in ("checkpoint_dir", "checkpoint_seconds", "cache_dir", "max_seconds", "callbacks"):
            params["trainer"].pop(name, None)
        return {
            "method": type(self).__name__,
            "parameters": repr(sorted(params.items())),
            "seed": seed,
            "data": fingerprint_rows(rows),
            **({} if others is None else {"pretrain_data": fingerprint_rows(others)}),
        }

    def _provenance(self, session: Session) -> dict[str, Any]:
        return {
            "method": type(self).__name__,
            "parameters": describe_params(self),
            "seed": session.first_seed,
            "rows": len(session.rows),
            "shape": list(session.rows.layout.shape),
            "data_sha256": session.journal.fingerprint["data"],
            "pretrain_data_sha256": session.journal.fingerprint.get("pretrain_data"),
            "seconds": round(session.journal.elapsed, 3),
            "precision": self.trainer.resolve_precision(),
            "versions": versions(),
            "machine": machine(session.device),
        }

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Return the cluster of every row, (n,)."""
        return _labels(self._assign(X))

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the probability of every cluster for every row, (n, k)."""
        proba: npt.NDArray[np.float32] = self._assign(X).numpy()
        return proba

    def relabel(self, names: Mapping[int, str]) -> Self:
        """Name clusters, and join them: those of one name become one, under the lowest of their numbers.

        From then on `predict`, `predict_proba`, `labels_` and `sample` speak of the joined clusters; numbers do not
        change otherwise. Names are saved with the model, and giving other names takes a join apart again.

        Parameters
        ----------
        names
            From numbers of clusters to names; clusters that are not mentioned keep theirs.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            Where a number is not a cluster's, or a name is not printable text.
        """
        self._model()
        self.naming_ = Naming.given(names, self.result_.proba.shape[1], self.naming_)
        self.labels_ = self.named_result().labels
        return self

    def named_result(self) -> ClusterResult:
        """Return what training found, with the clusters joined that `relabel` joined."""
        check_is_fitted(self)
        if self.naming_ is None or not self.naming_.joins:
            return self.result_
        proba = self.naming_.joined(torch.from_numpy(self.result_.proba))
        return dataclasses.replace(self.result_, proba=proba.numpy(), labels=_labels(proba))

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the code of every row, (n, d)."""
        codes: npt.NDArray[np.float32] = self._map(X, self._model().embed).numpy()
        return codes

    def score_samples(self, X: Any, *, importance_samples: int | None = None) -> npt.NDArray[np.float32]:
        """Return how well each row fits the model, (n,); higher is better.

        Parameters
        ----------
        X
            Rows.
        importance_samples
            None gives the method's own score (of generative ones the evidence lower bound, in nats). A number gives the
            importance-weighted estimate of log p(x) from that many codes a row, which is tighter; the same codes'
            noise serves every row, so that a row always gets the same estimate.
        """
        model = self._model()
        if importance_samples is None:
            fn = model.score
        elif not isinstance(model, AbstractVariationalModel):
            raise NotSupportedError(f"{type(self).__name__} has no posterior to draw importance samples from.")
        elif importance_samples < 1:
            raise InvalidParameterError(f"'importance_samples' must be an int >= 1. Got {importance_samples!r}.")
        else:
            noise = torch.randn(importance_samples, model.noise_size, generator=torch.Generator().manual_seed(0))
            fn = partial(model.log_evidence, noise=noise)
        scores: npt.NDArray[np.float32] = self._map(X, fn).numpy()
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples`; labels are ignored."""
        return float(self.score_samples(X).astype(np.float64).mean())

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted model to a folder of safetensors and JSON; `deepclust.load` reads it back."""
        check_is_fitted(self)
        return save_estimator(self, Path(path), overwrite=overwrite)

    @classmethod
    def preset(cls, name: str, *, data: str | None = None, **overrides: Any) -> Self:
        """Make an estimator with named settings, such as a paper's.

        Parameters
        ----------
        name
            For example ``"paper"``.
        data
            Data set whose published settings are meant.
        overrides
            Parameters that differ from the preset.
        """
        if name not in cls.presets:
            known = ", ".join(sorted(cls.presets)) or "none"
            raise InvalidParameterError(f"{cls.__name__} has no preset {name!r}; it has: {known}.")
        settings = {key: _without_healing(value) for key, value in {**defaults(cls), **cls.presets[name](data)}.items()}
        plain = {key: value for key, value in overrides.items() if "__" not in key}
        nested = {key: value for key, value in overrides.items() if "__" in key}
        return cls(**{**settings, **plain}).set_params(**nested)

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``trainer__batch_size=64`` puts a changed copy of the frozen trainer in place."""
        apply_params(self, params)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # codes are always float32
        tags.classifier_tags = ClassifierTags()  # what scikit-learn's checks ask of anything with predict_proba
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.result_.embedding.shape[1])

    def _rows(self, X: Any, *, reset: bool) -> Rows:
        owner, X = type(self).__name__, as_stored(X)
        channels = self.channels if reset else self.layout_.channels
        rows = as_rows(X, channels=channels if _ndim(X) == 4 else None, owner=owner, measure=reset)
        if _ndim(X) == 2:
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif reset:
            self.n_features_in_ = rows.spec.size
        if not reset and rows.spec.shape != self.spec_.shape:
            raise InvalidDataError(
                f"{owner} was fitted on rows of shape {self.layout_.shape} and got rows of shape {rows.layout.shape}. "
                "Give it rows like those it was fitted on."
            )
        return rows

    def _check_rows(self, rows: Rows) -> None:
        owner, n = type(self).__name__, len(rows)
        if n < max(2, self.n_clusters):
            raise InvalidDataError(
                f"{owner} got {n} rows (n_samples={n}) for n_clusters={self.n_clusters}; "
                "it needs at least one row per cluster, and two in all."
            )
        if np.array_equal(rows.moments.low, rows.moments.high):
            raise InvalidDataError(
                f"{owner} got {n} rows that are all equal: every column is constant, so there is nothing to cluster."
            )
        self._check(rows.spec)

    def _model(self) -> AbstractClusterModel:
        check_is_fitted(self)
        model: AbstractClusterModel = self.model_
        return model

    def _assign(self, X: Any) -> Tensor:
        proba = self._map(X, self._model().assign)
        return proba if self.naming_ is None else self.naming_.joined(proba)

    def _map(self, X: Any, fn: Callable[[Tensor], Tensor]) -> Tensor:
        rows = self._rows(X, reset=False)
        device = self.trainer.resolve_device()
        model = self.model_.to(device)
        try:
            out: Tensor = map_rows(fn, rows, self.scaler_, model, device=device)
        finally:
            model.to("cpu")
        return out

    def _to_user(self, x: Tensor) -> Array:
        return self.layout_.to_user(self.scaler_.inverse(x))


def _note_run_together(session: Session, labels: npt.NDArray[np.int64], k: int) -> None:
    """Say so where clusters have run into one another: far fewer are left than the start had, by the rows they hold."""
    start = session.start_labels
    if start is None or int(start.max()) >= k:  # it starts from more clusters than it ends with
        return
    before, after = effective_clusters(start[start >= 0].numpy()), effective_clusters(labels)
    if after < _LEFT * before:
        session.note("clusters run together", before=round(before, 1), after=round(after, 1))


def _without_healing(value: Any) -> Any:
    """Return a parameter of a published procedure, which fails where it fails."""
    if not isinstance(value, AbstractParameters):
        return value
    fields = {field.name: _without_healing(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return dataclasses.replace(value, **{**fields, **({"healing": None} if isinstance(value, Schedule) else {})})


def _ndim(X: Any) -> int:
    return len(X.shape) if hasattr(X, "shape") else np.asarray(X).ndim


def _labels(proba: Tensor) -> npt.NDArray[np.int64]:
    labels: npt.NDArray[np.int64] = proba.argmax(1).numpy()
    return labels
