"""What every registered deep method owes, whoever wrote it."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepclust import MLP, Budget, Conv, Schedule, Trainer, accuracy, load
from deepclust.engine import Session
from deepclust.engine.phase import Phase
from deepclust.errors import InvalidDataError, InvalidParameterError, NotSupportedError
from deepclust.model import AbstractDecodingModel, AbstractGenerativeModel
from tests.common.small import DEEP, small

every_method = pytest.mark.parametrize("name", DEEP)


@every_method
def test_learns(name, fitted):
    _, y, models = fitted
    assert accuracy(y, models[name].labels_) > 0.95


@every_method
def test_labels_are_what_predict_says_on_the_training_rows(name, fitted):
    X, _, models = fitted
    model = models[name]
    assert (model.labels_ == model.predict(X)).all()
    assert (model.labels_ == model.result_.proba.argmax(1)).all()


@every_method
@pytest.mark.parametrize(
    "rows", [slice(0, 1), slice(3, 8), slice(None, None, 7), slice(255, 258), slice(None, None, -1)]
)
def test_prediction_of_a_row_does_not_depend_on_its_company(name, fitted, rows):
    X, _, models = fitted
    model = models[name]
    top = np.sort(model.result_.proba[rows], axis=1)
    sure = top[:, -1] - top[:, -2] >= 1e-6
    assert (model.predict(X[rows]) == model.labels_[rows])[sure].all()
    np.testing.assert_allclose(model.predict_proba(X[rows]), model.result_.proba[rows], atol=1e-5)
    np.testing.assert_allclose(model.transform(X[rows]), model.result_.embedding[rows], atol=1e-4)


@every_method
def test_probabilities_are_on_the_simplex(name, fitted):
    X, _, models = fitted
    proba = models[name].predict_proba(X)
    assert proba.shape == (len(X), 4)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)


@every_method
def test_same_seed_gives_the_same_bits(name, brief):
    X, _, models = brief
    again = clone(models[name]).fit(X)
    assert (again.result_.proba == models[name].result_.proba).all()
    assert (again.result_.embedding == models[name].result_.embedding).all()


@every_method
def test_another_seed_gives_another_run(name, brief):
    X, _, models = brief
    other = clone(models[name]).set_params(random_state=1).fit(X)
    assert not np.array_equal(other.result_.embedding, models[name].result_.embedding)


@every_method
def test_labels_never_reach_the_method(name, brief):
    X, y, models = brief
    with_labels = clone(models[name]).fit(X, y)
    permuted = clone(models[name]).fit(X, np.random.default_rng(0).permutation(y))
    assert (with_labels.result_.proba == models[name].result_.proba).all()
    assert (permuted.result_.proba == models[name].result_.proba).all()


@every_method
def test_arrays_labels_and_global_random_states_of_the_caller_are_untouched(name, blobs):
    X, y = blobs
    X_before, y_before = X.copy(), y.copy()
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = small(name, epochs=1).set_params(random_state=None).fit(X, y)
    model.predict(X)
    if isinstance(model.model_, AbstractGenerativeModel):
        model.sample(3)
    assert (X_before == X).all()
    assert (y == y_before).all()
    assert torch.equal(torch_before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


@every_method
def test_every_parameter_receives_gradient_in_some_phase(name, blobs, monkeypatch):
    seen = {}
    step = Session._step

    def spy(self, module, optimizer, phase: Phase, index, at, slower):
        terms = step(self, module, optimizer, phase, index, at, slower)
        for key, parameter in phase.model.named_parameters():
            if parameter.grad is not None and parameter.grad.abs().sum() > 0:
                seen[key] = True
        return terms

    monkeypatch.setattr(Session, "_step", spy)
    model = small(name, epochs=2).fit(blobs[0])
    missing = {key for key, _ in model.model_.named_parameters()} - seen.keys()
    assert not missing


@every_method
def test_terms_add_up_to_the_loss_and_every_phase_is_in_the_history(name, fitted):
    history = fitted[2][name].result_.history
    assert history
    for line in history:
        terms = {k: v for k, v in line.items() if k not in ("phase", "epoch", "loss", "lr", "seconds")}
        assert line["loss"] == pytest.approx(sum(terms.values()))
        assert np.isfinite(line["loss"])


@every_method
def test_save_and_load_give_the_same_estimator(name, fitted, tmp_path):
    X, _, models = fitted
    model = models[name]
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert (again.transform(X) == model.transform(X)).all()
    assert (again.labels_ == model.labels_).all()
    assert again.get_params(deep=False) == model.get_params(deep=False)
    assert again.result_.provenance == model.result_.provenance
    assert not any(path.suffix in (".pkl", ".pt", ".pickle") for path in (tmp_path / "model").rglob("*"))


@every_method
def test_reconstruction_and_samples_are_in_the_units_of_the_user(name, fitted):
    X, _, models = fitted
    model = models[name]
    if not isinstance(model.model_, AbstractDecodingModel):
        pytest.skip(f"{name} has no decoder")
    x_hat = model.reconstruct(X)
    assert x_hat.shape == X.shape
    assert np.mean((x_hat - X) ** 2) < 0.5 * X.var(axis=0).mean()
    if not isinstance(model.model_, AbstractGenerativeModel):
        return
    drawn, clusters = model.sample(200, random_state=0)
    assert drawn.shape == (200, 20)
    assert set(clusters) <= set(range(4))
    own, _ = model.sample(50, 2, random_state=0)
    assert np.mean(model.predict(own) == 2) > 0.8
    again, _ = model.sample(50, 2, random_state=0)
    assert (own == again).all()


@every_method
def test_score_is_the_mean_of_its_samples_and_tells_outliers(name, fitted):
    X, _, models = fitted
    model = models[name]
    scores = model.score_samples(X)
    assert scores.shape == (len(X),)
    assert model.score(X) == pytest.approx(scores.mean(), rel=1e-5)
    assert model.score_samples(X + 100).mean() < scores.mean()


@every_method
def test_restarts_keep_the_best_by_score_without_labels(name, blobs):
    model = small(name, epochs=2).set_params(n_init=3).fit(blobs[0])
    event = next(event for event in model.result_.events if event["kind"] == "attempts")
    assert event["kept"] == int(np.argmax(event["scores"]))
    assert len(set(event["scores"])) == 3
    assert model.score(blobs[0]) == pytest.approx(max(event["scores"]), rel=1e-4)
    assert (model.labels_ == model.predict(blobs[0])).all()


@every_method
@pytest.mark.parametrize(
    "convert",
    [
        lambda X: torch.from_numpy(X),
        lambda X: pd.DataFrame(X, columns=[f"f{i}" for i in range(20)]),
        lambda X: pl.DataFrame(X, schema=[f"f{i}" for i in range(20)]),
        lambda X: scipy.sparse.csr_matrix(X),
        lambda X: scipy.sparse.csc_array(X),
    ],
    ids=["torch", "pandas", "polars", "csr", "csc"],
)
def test_takes_what_holds_rows(name, brief, convert):
    X, _, models = brief
    model = clone(models[name]).set_params(random_state=0).fit(convert(X))
    assert (model.result_.proba == models[name].result_.proba).all()


@every_method
def test_takes_double_precision(name, fitted):
    X, _, models = fitted
    model = clone(models[name]).set_params(random_state=0).fit(X.astype(np.float64))
    assert np.mean(model.labels_ == models[name].labels_) > 0.99


@every_method
def test_takes_a_memory_map(name, brief, tmp_path):
    X, _, models = brief
    np.save(tmp_path / "X.npy", X)
    model = clone(models[name]).fit(np.load(tmp_path / "X.npy", mmap_mode="r"))
    assert (model.labels_ == models[name].labels_).all()


@every_method
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint16, np.float16, bool])
def test_takes_any_dtype(name, dtype):
    X = (np.random.default_rng(0).random((60, 6)) > 0.5).astype(dtype)
    assert small(name, n_clusters=2, epochs=1).fit(X).labels_.shape == (60,)


@every_method
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (3, 9, 7), (1, 8, 8)])
def test_takes_images_and_answers_in_their_shape(name, shape):
    X = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    model = small(name, n_clusters=2, epochs=1).set_params(network=Conv(channels=(4, 8), dense=8, latent=3)).fit(X)
    assert model.predict(X).shape == (40,)
    if isinstance(model.model_, AbstractDecodingModel):
        assert model.reconstruct(X).shape == X.shape
    assert model.n_features_in_ == np.prod(shape)


@every_method
def test_networks_of_the_user_are_taken_and_left_as_they_were(name, blobs, tmp_path):
    X = blobs[0]
    encoder = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    decoder = torch.nn.Linear(3, 20)
    before = decoder.weight.detach().clone()
    model = small(name, epochs=3).set_params(network=(encoder, decoder)).fit(X)
    assert torch.equal(before, decoder.weight)
    # SpectralNet's embedding is the eigenvectors, a quarter more than clusters; every other method's is the user's code.
    assert model.transform(X).shape == (150, 5 if name == "spectralnet" else 3)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="modules of your own"):
        load(tmp_path / "model")
    again = load(tmp_path / "model", network=(encoder, decoder))
    assert (again.labels_ == again.predict(X)).all()


@every_method
def test_feature_names_set_output_pipeline_and_grid_search(name, blobs):
    X = pd.DataFrame(blobs[0], columns=[f"f{i}" for i in range(20)])
    model = small(name, epochs=1).set_output(transform="pandas").fit(X)
    assert list(model.feature_names_in_) == list(X.columns)
    frame = model.transform(X)
    width = 5 if name == "spectralnet" else 4  # of four clusters' eigenvectors, or of the code
    assert list(frame.columns) == [f"{type(model).__name__.lower()}{i}" for i in range(width)]
    assert make_pipeline(StandardScaler(), small(name, epochs=1)).fit_predict(blobs[0]).shape == (150,)
    grid = {"trainer__batch_size": [16, 32], "network__latent": [2, 3]}
    search = GridSearchCV(small(name, epochs=1), grid, cv=2, error_score="raise").fit(blobs[0])
    assert search.best_params_.keys() == grid.keys()


@every_method
def test_parameter_objects_are_replaced_and_never_changed(name):
    model, other = small(name), small(name)
    shared = model.trainer
    model.set_params(trainer__batch_size=7)
    assert model.trainer.batch_size == 7
    assert shared.batch_size == other.trainer.batch_size == Trainer().batch_size
    with pytest.raises(Exception, match="cannot assign"):
        model.trainer.batch_size = 8


@every_method
@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (np.full((20, 3), np.nan), r"NaN \(first at row 0, feature 0\)"),
        (np.where(np.eye(20) > 0, np.inf, 0.0), r"infinity \(first at row 0, feature 0\)"),
        (np.array([["a", "b"]] * 20), "dtype"),
        (np.empty((0, 3)), "0 sample"),
        (np.empty((5, 0)), "0 feature"),
        (np.zeros((1, 3)), "n_samples=1"),
        (np.ones((20, 3)), "constant"),
        (np.random.default_rng(0).random((3, 4)), "3 rows"),
        (np.zeros((4, 3, 5, 3)), "channel axis"),
        (np.zeros((4, 5, 6, 7)), "channel axis"),
        (np.zeros((4, 2, 2, 2, 2)), "dimensions"),
        (np.zeros(5), "1D array"),
    ],
    ids=[
        "nan",
        "inf",
        "text",
        "empty",
        "no-columns",
        "one-row",
        "constant",
        "k>n",
        "ambiguous",
        "channels",
        "5-d",
        "1-d",
    ],
)
def test_bad_data_are_refused_in_one_clear_sentence(name, X, sentence):
    with pytest.raises((InvalidDataError, ValueError), match=sentence):
        small(name).fit(X)


@every_method
def test_rows_of_another_shape_are_refused_at_predict(name, fitted):
    model = fitted[2][name]
    with pytest.raises(ValueError, match="features"):
        model.predict(np.zeros((3, 7)))
    with pytest.raises(ValueError, match="shape"):
        model.predict(np.zeros((3, 5, 4)))


@every_method
@pytest.mark.parametrize("params", [{"n_clusters": 0}, {"n_clusters": 2.5}, {"network": "big"}, {"trainer": None}])
def test_bad_parameters_are_refused_by_name(name, params, blobs):
    (key,) = params
    with pytest.raises(InvalidParameterError, match=f"The '{key}' parameter of .* must be .*Got"):
        small(name).set_params(**params).fit(blobs[0])


@every_method
def test_sampling_where_there_is_nothing_to_sample_is_refused(name, fitted):
    model = fitted[2][name]
    with pytest.raises((InvalidParameterError, NotSupportedError)):
        model.sample(3, 99)


@every_method
def test_default_schedules_give_few_rows_enough_steps(name):
    schedules = [v for v in small(name).__class__().get_params(deep=False).values() if isinstance(v, Schedule)]
    assert schedules
    for schedule in schedules:
        assert isinstance(schedule.epochs, Budget)
        for n in (200, 1_797, 10_000, 70_000, 10_000_000):
            per_epoch = schedule.steps_per_epoch(n, 256)
            steps = per_epoch * schedule.total_epochs(per_epoch)
            assert steps >= min(schedule.epochs.least_steps, schedule.epochs.most_steps) * 0.9
            assert steps <= max(schedule.epochs.most_steps, per_epoch) * 1.1


@every_method
def test_default_network_suits_the_rows(name, digits):
    flat = small(name, n_clusters=10, epochs=1).set_params(network="auto").fit(digits[0].reshape(-1, 64)[:300])
    assert not any(isinstance(m, torch.nn.Conv2d) for m in flat.model_.modules())
    image = small(name, n_clusters=10, epochs=1).set_params(network="auto").fit(digits[0][:300])
    assert any(isinstance(m, torch.nn.Conv2d) for m in image.model_.modules())
    assert isinstance(MLP().build(flat.spec_).encoder, torch.nn.Sequential)
