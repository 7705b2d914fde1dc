"""How training magnifies the smallest difference: a fit beside one whose weights were nudged, in double precision.

python benchmarks/scale/magnify.py METHOD ... [--nudge 1e-15] [--set '{"schedule__eps": 1e-3}' --name eps]

Both run in one process on all of digits. The nudged one's weights are multiplied by 1 + nudge in the first step of
every phase. Recorded is how far gradients differ, as a share of their length, after 1, 2, 5, 10, ... steps of every
phase, and the share of rows that end in the same cluster. Where clusters differ, two processes cannot keep them
either: their sums differ by as much as the nudge.
"""

import argparse
import json
from pathlib import Path
from unittest import mock

import torch

RECORDS = Path(__file__).with_name("records")


def looked_at(step: int) -> bool:
    """Tell whether a step, from 1, is 1, 2 or 5 times a power of ten."""
    digits = str(step)
    return digits[0] in "125" and not digits[1:].strip("0")


def trained(
    method: str, nudge: float, settings: dict[str, object]
) -> tuple[dict[tuple[str, int], torch.Tensor], torch.Tensor]:
    """Fit, and return the gradients of steps looked at, by phase, and the labels."""
    from sklearn.datasets import load_digits

    from deepclust import Trainer, together
    from deepclust.engine import Session
    from deepclust.methods import METHODS

    gradients: dict[tuple[str, int], torch.Tensor] = {}
    phases: list[str] = []
    steps = 0
    train = Session.train

    def begin(session, phase, *rest, **options):
        nonlocal steps
        phases.append(phase.name)
        steps = 0
        return train(session, phase, *rest, **options)

    def look(parameters):
        nonlocal steps
        steps += 1
        found = [p for p in parameters if p.grad is not None]
        if looked_at(steps):
            gradients[phases[-1], steps] = torch.cat([p.grad.flatten() for p in found])
        if steps == 1:
            torch._foreach_mul_([p.data for p in found], 1 + nudge)

    trainer = Trainer(device="cpu", precision="fp32")
    model = METHODS[method].load()(10, random_state=0, trainer=trainer).set_params(**settings)
    stepped = mock.patch.object(together, "average_gradients", look)  # every step passes it, in one process too
    with stepped, mock.patch.object(Session, "train", begin):
        model.fit(load_digits().images)
    return gradients, torch.from_numpy(model.labels_)


def magnified(method: str, nudge: float, settings: dict[str, object]) -> dict[str, object]:
    """Return how far both fits have parted at each step looked at, and at the end."""
    from deepclust.metrics import accuracy

    plain, labels = trained(method, 0.0, settings)
    other, others = trained(method, nudge, settings)
    apart: dict[str, dict[str, float]] = {}
    for (phase, step), gradient in plain.items():
        if (phase, step) in other:
            difference = float((other[phase, step] - gradient).norm() / gradient.norm())
            apart.setdefault(phase, {})[str(step)] = difference
    return {
        "nudge": nudge,
        "settings": settings,
        "gradients_apart": apart,
        "same_cluster": float(accuracy(labels.numpy(), others.numpy())),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--nudge", type=float, default=1e-15)
    parser.add_argument("--set", type=json.loads, default={}, help="parameters as JSON, in place of the defaults")
    parser.add_argument("--name", help="added to the record's; needed with --set")
    options = parser.parse_args()
    if options.set and not options.name:
        parser.error("--set needs --name, or the record would take the place of the defaults'")
    torch.set_default_dtype(torch.float64)  # what the library calls float is double then
    torch.Tensor.float = torch.Tensor.double
    RECORDS.mkdir(exist_ok=True)
    for method in options.methods:
        found = magnified(method, options.nudge, options.set)
        stem = f"magnify-{method}-{options.name}" if options.name else f"magnify-{method}"
        (RECORDS / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(method, found, flush=True)


if __name__ == "__main__":
    main()
