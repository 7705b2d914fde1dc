"""Every registered deep method, small enough for a test of its contract. Read from the registry: no test names one."""

from deepclust import MLP, Schedule, Trainer
from deepclust.methods import DEEP as _DEEP
from deepclust.methods import METHODS
from deepclust.params import AbstractParameters


def small(name, n_clusters=4, epochs=20, batch_size=32, network=MLP(hidden=(32,), latent=4), preset=None, **params):
    """A method with a small network and short schedules, whatever its other parameters are."""
    method = METHODS[name].load()
    given = {"n_clusters": n_clusters, "network": network, "random_state": 0}
    estimator = method(**given) if preset is None else method.preset(preset, **given)
    short = Schedule(epochs=epochs, batch_size=batch_size)
    changed = {
        key: shortened(value, short)
        for key, value in estimator.get_params(deep=False).items()
        if isinstance(value, AbstractParameters) and key != "network"
    }
    return estimator.set_params(**{**changed, "trainer": Trainer(precision="fp32"), **params})


def shortened(parameters, short):
    """Parameters whose schedules, at any depth, are the short one."""
    if isinstance(parameters, Schedule):
        return short
    inner = {
        key: shortened(value, short)
        for key, value in parameters.get_params(deep=False).items()
        if isinstance(value, AbstractParameters)
    }
    if isinstance(getattr(parameters, "hidden", None), (tuple, str)):
        inner["hidden"] = (32, 16)
    if isinstance(getattr(parameters, "rounds", None), int):
        inner["rounds"] = min(2, parameters.rounds)
    return parameters(**inner) if inner else parameters


DEEP = list(_DEEP)
