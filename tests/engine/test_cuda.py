"""The same contract on a GPU; machines without one skip it."""

import numpy as np
import pytest
import torch
from tests.common.small import DEEP, small

from deepclust import Callback, load

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class CrashError(Exception):
    """Stands for the end of the process."""


class CrashAt(Callback):
    def __init__(self, steps):
        self.left = steps

    def on_step(self, session, phase, progress):
        self.left -= 1
        if self.left < 0:
            raise CrashError


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    X = rng.random((4, 1, 16, 16)).repeat(30, axis=0) + rng.normal(0, 0.05, (120, 1, 16, 16))
    return np.clip(X, 0, 1).astype(np.float32)


def on_cuda(name, **trainer):
    model = small(name, epochs=4, network="auto")
    return model.set_params(trainer=model.trainer(device="cuda", **trainer))


@pytest.mark.parametrize("name", DEEP)
def test_what_was_fitted_on_a_gpu_predicts_on_the_cpu(name, images, tmp_path):
    model = on_cuda(name).fit(images)
    assert (model.predict(images) == model.labels_).all()
    assert model.result_.provenance["machine"]["device"] == "cuda"
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    loaded.set_params(trainer=loaded.trainer(device="cpu"))
    np.testing.assert_allclose(loaded.predict_proba(images), model.result_.proba, atol=0.02)


@pytest.mark.parametrize("name", DEEP)
def test_a_run_goes_on_from_its_checkpoint(name, images, tmp_path):
    crashes, model = 0, None
    while model is None:
        try:
            callbacks = (CrashAt(7),)
            model = on_cuda(name, checkpoint_dir=tmp_path, checkpoint_seconds=0.0, callbacks=callbacks).fit(images)
        except CrashError:
            crashes += 1
    assert 1 <= crashes < 100
    whole = on_cuda(name).fit(images)
    assert [line["phase"] for line in model.result_.history] == [line["phase"] for line in whole.result_.history]
    assert np.isfinite(model.result_.proba).all()
