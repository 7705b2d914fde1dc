"""The same contract on a GPU; machines without one skip it."""

import numpy as np
import pytest
import torch
from tests.common.small import DEEP
from tests.engine.test_resume import make, run_with_crashes

from deepclust import Trainer, load

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

ON_CUDA = {"network": "auto", "trainer": Trainer(device="cuda", precision="fp32")}


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    X = rng.random((4, 1, 16, 16)).repeat(30, axis=0) + rng.normal(0, 0.05, (120, 1, 16, 16))
    return np.clip(X, 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", DEEP)
def test_what_was_fitted_on_a_gpu_predicts_on_the_cpu(name, images, tmp_path):
    model = make(name, **ON_CUDA).fit(images)
    assert (model.predict(images) == model.labels_).all()
    assert model.result_.provenance["machine"]["device"] == "cuda"
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    loaded.set_params(trainer=loaded.trainer(device="cpu"))
    np.testing.assert_allclose(loaded.predict_proba(images), model.result_.proba, atol=0.02)


@pytest.mark.parametrize("name", DEEP)
def test_a_run_goes_on_from_its_checkpoint(name, images, tmp_path):
    # Sums on a GPU are not the same twice, so only the course of the runs is compared.
    resumed, crashes = run_with_crashes(name, images, tmp_path, 7, **ON_CUDA)
    assert crashes >= 1
    whole = make(name, **ON_CUDA).fit(images)
    assert {line["phase"] for line in resumed.result_.history} == {line["phase"] for line in whole.result_.history}
    assert np.isfinite(resumed.result_.proba).all()
