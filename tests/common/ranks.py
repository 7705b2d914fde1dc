"""What every process of a run under torchrun does in the tests: fits, in double precision or as it is.

python -m tests.common.ranks OUT double|single CASE...
"""

import sys
import warnings
from pathlib import Path

import torch
from sklearn.datasets import load_digits

from deepclust import Affine, Schedule, Trainer, together
from deepclust.engine import Callback
from tests.common.small import DEEP, small

# Methods as they are, and what else couples the rows of a step: batch normalisation, graphs within a batch, targets of
# a batch, augmentation, dropout, relaxed classes.
CASES = {
    **{name: {} for name in DEEP},
    "jule on images": {"images": True, "augment": True},
    "depict on images": {"images": True, "augment": True},
    "spectralnet on images": {"images": True},
    "depict, article": {"images": True, "preset": "article"},
    "dual_autoencoder, code2020": {"images": True, "preset": "code2020"},
    "gmvae, gumbel": {"preset": "gumbel"},
    "gmvae, shu": {"preset": "shu"},
    "gmvae, dilokthanakul-v1": {"preset": "dilokthanakul-v1"},
    "spectralnet, package": {"preset": "package"},
    "dec, paper": {"preset": "paper"},
}


class Gradients(Callback):
    """Keeps the gradients of every phase's first step."""

    def __init__(self):
        self.found = {}

    def on_step(self, session, phase, progress):
        if phase.name not in self.found:
            named = phase.model.named_parameters()
            self.found[phase.name] = {name: p.grad.clone() for name, p in named if p.grad is not None}


def in_double():
    """Let the library compute in double precision: what it calls float is then that."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double


def fitted(case, seed=0):
    options = CASES[case]
    data, watch = load_digits(), Gradients()
    X = data.images[:301] if options.get("images") else data.data[:401]
    params = {"epochs": 2 if options.get("images") else 4, "batch_size": 100, "preset": options.get("preset")}
    if options.get("images"):
        params["network"] = "auto"
    model = small(case.split(",")[0].split()[0], n_clusters=10, **params)
    if options.get("augment"):
        model.set_params(schedule=Schedule(epochs=3, batch_size=100, augment=Affine(shift=0.1, rotation=10)))
    model.set_params(trainer=Trainer(precision="fp32", device="cpu", callbacks=(watch,)), random_state=seed)
    result = model.fit(X).result_
    return {
        "labels": torch.from_numpy(result.labels),
        "history": [{k: v for k, v in line.items() if k != "seconds"} for line in result.history],
        "gradients": watch.found,
    }


def main(out, precision, *cases):
    if precision == "double":
        in_double()
    found = {case: fitted(case) for case in cases or CASES}
    if together.is_first():
        torch.save(found, Path(out))
    together.end()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
