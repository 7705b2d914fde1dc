"""DCN: clusters and centres follow the codes step by step, by the published rule."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepclust import DCN, MLP, Schedule, Trainer, accuracy
from deepclust.data.batch import Batch, Progress
from deepclust.data.rows import Spec
from deepclust.methods.dcn import Members

COMMON = {
    "network": MLP(hidden=(32,), latent=4),
    "pretrain": Schedule(epochs=60, batch_size=32),
    "schedule": Schedule(epochs=20, batch_size=32),
    "trainer": Trainer(precision="fp32"),
    "random_state": 0,
}


def test_centres_move_as_one_code_after_another_would_move_them():
    torch.manual_seed(0)
    model = DCN(3, network=MLP(hidden=(5,), latent=2))._build(Spec((4,), 30, 0.0, 1.0))
    model.head.centers.copy_(torch.randn(3, 2))
    members = Members(torch.zeros(30, dtype=torch.int64), torch.full((3,), 100.0))
    x, index = torch.rand(30, 4), torch.randperm(30)
    centers, counts = model.head.centers.double().numpy().copy(), np.full(3, 100.0)
    z = model.embed(x[index]).detach().double().numpy()
    nearest = ((z[:, None] - centers) ** 2).sum(-1).argmin(1)  # by the centres before the step
    for code, k in zip(z, nearest, strict=True):
        counts[k] += 1
        centers[k] = (1 - 1 / counts[k]) * centers[k] + code / counts[k]
    members.follow(model, Batch(x[index], index, Progress(0, 1, 0, 1)))
    assert_close(model.head.centers.double(), torch.from_numpy(centers), atol=1e-6, rtol=0)
    assert members.counts.tolist() == counts.tolist()
    assert members.labels[index].tolist() == nearest.tolist()


@pytest.mark.parametrize("start", ["linkage", "kmeans"])
def test_groups_are_found_and_codes_come_nearer_to_their_centres(start, blobs):
    X, y = blobs
    model = DCN(3, start=start, **COMMON).fit(X)
    assert accuracy(y, model.labels_) > 0.98
    history = [line["distance"] for line in model.result_.history if line["phase"] == "cluster"]
    assert history[-1] < 0.7 * history[0]
    z = model.transform(X)
    distance = ((z[:, None] - model.model_.head.centers.numpy()) ** 2).sum(-1)
    assert (distance.argmin(1) == model.labels_).all()
    assert_close(
        torch.tensor(model.score_samples(X)), torch.tensor(-distance.min(1)), rtol=1e-3, atol=1e-4, check_dtype=False
    )


def test_no_gradient_reaches_the_centres(blobs):
    model = DCN(3, **COMMON)._build(Spec((4,), 30, 0.0, 1.0))
    assert not any("center" in name for name, _ in model.named_parameters())
    assert DCN.preset("paper").start == "kmeans"
