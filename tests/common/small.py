"""Every registered deep method, small enough for a test of its contract. Read from the registry: no test names one."""

from deepclust import MLP, Schedule, Trainer
from deepclust.engine import Schedule as _Schedule
from deepclust.methods import DEEP as _DEEP
from deepclust.methods import METHODS


def small(name, n_clusters=4, epochs=20, batch_size=32, **params):
    """A method with a small network and short schedules, whatever its other parameters are."""
    method = METHODS[name].load()
    estimator = method(n_clusters, network=MLP(hidden=(32,), latent=4), random_state=0)
    schedules = {
        key: Schedule(epochs=epochs, batch_size=batch_size)
        for key, value in estimator.get_params(deep=False).items()
        if isinstance(value, _Schedule)
    }
    return estimator.set_params(trainer=Trainer(precision="fp32"), **schedules, **params)


DEEP = list(_DEEP)
