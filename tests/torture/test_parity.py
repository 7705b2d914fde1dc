"""Ten thousand rows through the exported graph of every method, one by one and in batches."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from deepclust.export import TOLERANCE, export_onnx
from tests.common.small import DEEP, small
from tests.common.torture import IS_FULL, count, record

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
ROWS = count(500, 10_000)
_found = {}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", DEEP if IS_FULL else DEEP[:2])
def test_the_graph_answers_as_the_model_does(name, tmp_path):
    X = make_blobs(ROWS, n_features=20, centers=4, cluster_std=4.0, random_state=0)[0].astype(np.float32)
    model = small(name, epochs=2).fit(X[:500])
    export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    expected = model.predict_proba(X)
    _, whole, labels = session.run(None, {"x": X})
    single = np.concatenate([session.run(["probabilities"], {"x": X[i : i + 1]})[0] for i in range(len(X))])
    batched = np.concatenate([session.run(["probabilities"], {"x": X[i : i + 333]})[0] for i in range(0, len(X), 333)])
    largest = max(float(np.abs(found - expected).max()) for found in (whole, single, batched))
    two = np.sort(expected, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > TOLERANCE
    differ = int((labels[clear] != expected[clear].argmax(axis=1)).sum())
    _found[name] = {"largest_difference": largest, "clear_rows": int(clear.sum()), "labels_that_differ": differ}
    assert largest <= TOLERANCE
    assert differ == 0


def test_parity_is_on_record():
    record("onnx-parity", rows=ROWS, methods=_found)
