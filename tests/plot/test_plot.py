"""Views as axes."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from deepclust import MLP, Schedule, Trainer, VaDE
from deepclust.errors import InvalidDataError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

from deepclust import plot  # noqa: E402


@pytest.fixture(scope="module")
def fitted():
    data = load_digits()
    X, y = data.images[:200], data.target[:200]
    quick = Schedule(epochs=3, batch_size=64)
    network = MLP(hidden=(32,), latent=4)
    model = VaDE(4, network=network, start="kmeans", pretrain=quick, schedule=quick, random_state=0)
    return model.set_params(trainer=Trainer(precision="fp32")).fit(X), X, y


@pytest.fixture(autouse=True)
def _closed():
    yield
    matplotlib.pyplot.close("all")


def test_every_view_returns_the_axes_that_it_drew_on(fitted):
    model, X, y = fitted
    views = (
        plot.embedding(model),
        plot.sizes(model),
        plot.confidence(model),
        plot.history(model),
        plot.confusion(model, y),
        plot.members(model, X, columns=5),
        plot.samples(model, columns=5),
    )
    for ax in views:
        ax.figure.canvas.draw()
    given = matplotlib.pyplot.subplots()[1]
    assert plot.sizes(model, ax=given) is given


def test_views_show_what_was_found(fitted):
    model, X, y = fitted
    assert [bar.get_height() for bar in plot.sizes(model).patches] == np.bincount(model.labels_, minlength=4).tolist()
    assert sum(len(points.get_offsets()) for points in plot.embedding(model).collections) == 200
    shares = plot.confusion(model, y).images[0].get_array()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert plot.history(model, phase="pretrain").get_title() == "pretrain"
    assert plot.members(model, X, columns=5).images[0].get_array().shape == (8 * len(set(model.labels_)), 40)


def test_what_cannot_be_drawn_is_told(fitted):
    with pytest.raises(InvalidDataError, match="no phase 'x' in the history; it has: pretrain, cluster"):
        plot.history(fitted[0], phase="x")
    flat = fitted[1].reshape(200, -1)
    quick = Schedule(epochs=1)
    model = VaDE(2, network=MLP(hidden=(8,), latent=2), start="kmeans", pretrain=quick, schedule=quick).fit(flat)
    with pytest.raises(InvalidDataError, match="the rows are flat"):
        plot.members(model, flat)
