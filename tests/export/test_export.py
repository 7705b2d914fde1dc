"""What is exported answers as the model does, for every deep method, in any batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from tests.common.small import DEEP, small

from deepclust import MLP, Schedule, Trainer, VaDE
from deepclust.errors import DeepclustError
from deepclust.export import TOLERANCE, Shipped, export_onnx, export_program

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def rows():
    return load_digits().data[:300].astype(np.float32)


def agrees(found, model, X):
    """Embedding, probabilities and labels of a graph against those of the estimator."""
    embedding, proba, label = found
    expected = model.predict_proba(X)
    np.testing.assert_allclose(proba, expected, atol=TOLERANCE)
    np.testing.assert_allclose(embedding, model.transform(X), rtol=1e-3, atol=1e-3)
    two = np.sort(expected, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > TOLERANCE
    np.testing.assert_array_equal(label[clear], model.predict(X)[clear])


@pytest.mark.parametrize("name", DEEP)
def test_every_method_answers_the_same_from_onnx(name, rows, tmp_path):
    model = small(name, n_clusters=4, epochs=3).fit(rows)
    assert export_onnx(model, tmp_path / "model.onnx", rows[:20]) <= TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"], "one file, and no other"
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [output.name for output in session.get_outputs()] == ["embedding", "probabilities", "label"]
    for batch in (rows, rows[:1], rows[7:12]):
        agrees(session.run(None, {"x": batch}), model, batch)


def test_the_example_predicts_without_torch_and_without_us(rows, model, tmp_path):
    export_onnx(model, tmp_path / "model.onnx")
    np.save(tmp_path / "rows.npy", rows[:7])
    example = Path(__file__).parents[2] / "examples" / "predict_onnx.py"
    blocked = "import sys, runpy; sys.modules['torch'] = sys.modules['deepclust'] = None; sys.argv = sys.argv[1:]; "
    code = blocked + "runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = [sys.executable, "-c", code, example, tmp_path / "model.onnx", tmp_path / "rows.npy"]
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=True)
    told = [line.split("\t") for line in done.stdout.splitlines()]
    assert [int(cluster) for _, cluster, _ in told] == model.predict(rows[:7]).tolist()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (3, 8, 8)])
def test_images_go_in_as_the_user_has_them(shape, tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (60, *shape), dtype=np.uint8)
    quick = Schedule(epochs=1, batch_size=32)
    model = VaDE(2, start="kmeans", pretrain=quick, schedule=quick, trainer=Trainer(precision="fp32"), random_state=0)
    model.fit(X)
    export_onnx(model, tmp_path / "model.onnx")
    found = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"x": X.astype(np.float32)})
    agrees(found, model, X)


@pytest.fixture(scope="module")
def model(rows):
    quick = Schedule(epochs=2, batch_size=64)
    network = MLP(hidden=(16,), latent=3)
    return VaDE(3, network=network, start="kmeans", pretrain=quick, schedule=quick, random_state=0).fit(rows)


def test_exported_program_answers_the_same(model, rows, tmp_path):
    export_program(model, tmp_path / "model.pt2", rows[:10])
    run = torch.export.load(tmp_path / "model.pt2").module()
    for batch in (rows, rows[:1]):
        agrees([y.detach().numpy() for y in run(torch.from_numpy(batch))], model, batch)


def test_joined_clusters_are_joined_in_the_graph(model, rows, tmp_path):
    model.relabel({0: "one", 2: "one"})
    try:
        export_onnx(model, tmp_path / "model.onnx")
        found = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"x": rows})
        agrees(found, model, rows)
        assert 2 not in set(found[2].tolist())
    finally:
        model.relabel({0: "0", 2: "2"})


def test_a_graph_that_answers_otherwise_is_not_kept(model, tmp_path, monkeypatch):
    forward = Shipped.forward

    def wrong(self, x):
        embedding, proba, label = forward(self, x)
        return embedding, proba if not torch.compiler.is_exporting() else proba * 0.99, label

    monkeypatch.setattr(Shipped, "forward", wrong)
    with pytest.raises(DeepclustError, match="does not give what PyTorch does"):
        export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
