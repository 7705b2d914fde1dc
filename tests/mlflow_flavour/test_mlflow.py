"""Models go through MLflow's generic loader and answer as the estimator does; nothing in them is a pickle."""

import numpy as np
import pandas as pd
import pytest
from tests.common.small import small

from deepclust.data.tables import TableEncoder
from deepclust.mlflow import log_model, save_model
from deepclust.runs import Run

pyfunc = pytest.importorskip("mlflow.pyfunc")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


@pytest.fixture
def model(blobs):
    return small("dec", epochs=2).fit(blobs[0])


def test_answers_are_those_of_the_estimator(model, blobs, tmp_path):
    X, _ = blobs
    model.relabel({1: "first"})
    save_model(model, tmp_path / "stored")
    told = pyfunc.load_model(str(tmp_path / "stored")).predict(X)
    assert list(told.columns) == ["cluster", "probability", "cluster_name"]
    assert (told["cluster"].to_numpy() == model.predict(X)).all()
    np.testing.assert_allclose(told["probability"], model.predict_proba(X).max(axis=1), rtol=1e-6)
    assert set(told["cluster_name"]) <= {"0", "first", "2", "3"}
    suffixes = {path.suffix for path in (tmp_path / "stored").rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".pt"}
    assert "deepclust==" in (tmp_path / "stored" / "requirements.txt").read_text()


def test_a_table_is_read_as_the_run_read_it(run, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=40), "kind": ["a", "b"] * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    quick = ["-p", "pretrain__epochs=2", "--epochs", 2, "-p", 'trainer__precision="fp32"', "--method", "dec"]
    folder = tmp_path / "run"
    assert run("fit", tmp_path / "t.csv", "-k", 2, "--categorical", "onehot", "--out", folder, *quick)[0] == 0
    save_model(Run(folder), tmp_path / "stored")
    told = pyfunc.load_model(str(tmp_path / "stored")).predict(frame)
    assert (told["cluster"].to_numpy() == Run(folder).load_model().labels_).all()
    encoder = TableEncoder(categorical="onehot").fit(frame)
    estimator = small("dec", n_clusters=2, epochs=1).fit(encoder.transform(frame))
    save_model(estimator, tmp_path / "other", encoder=encoder)
    told = pyfunc.load_model(str(tmp_path / "other")).predict(frame)
    assert (told["cluster"].to_numpy() == estimator.labels_).all()


def test_a_run_of_mlflow_keeps_the_model(model, blobs, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "tracking").as_uri())
    with mlflow.start_run():
        info = log_model(model, "clusters")
    told = pyfunc.load_model(info.model_uri).predict(pd.DataFrame(blobs[0]))
    assert (told["cluster"].to_numpy() == model.labels_).all()
