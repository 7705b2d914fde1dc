"""One process beside two on all of digits, with every method's own network and schedule.

python benchmarks/scale/processes.py [METHOD ...]

In double precision, the share of rows that both give the same cluster. In single precision, the same for two processes
and, as the yardstick, for one process with two threads in the place of one. There one seed shows little: how far two
runs part that differ by rounding depends on whether some row near a border tips early, so several are run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

RECORDS = Path(__file__).with_name("records")


def fit(method: str, precision: str, seed: int, out: str) -> None:
    """Fit as one process of a run; the first one keeps the labels."""
    from sklearn.datasets import load_digits

    from deepclust import Trainer, together
    from deepclust.methods import METHODS

    if precision == "double":  # what the library calls float is double then
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
    trainer = Trainer(device="cpu", precision="fp32")
    model = METHODS[method].load()(10, random_state=seed, trainer=trainer).fit(load_digits().images)
    if together.is_first():
        torch.save(torch.from_numpy(model.labels_), out)
    together.end()


def labels_of(method: str, precision: str, seed: int = 0, *, processes: int = 1, threads: int = 1) -> torch.Tensor:
    """Fit in processes of their own and return the labels."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/labels.pt"
        ours = [__file__, method, "--fit", precision, str(seed), out]
        command = [sys.executable, *(launcher if processes > 1 else []), *ours]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
        return torch.load(out)


def deep_methods() -> list[str]:
    """Return the names of all methods that train a network."""
    from deepclust.methods import METHODS

    return [name for name, entry in METHODS.items() if entry.kind == "deep"]


def agreement(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the share of rows in the same cluster; numbers of clusters are the same by construction."""
    return float((ours == theirs).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", help="all deep ones by default")
    parser.add_argument("--seeds", type=int, default=3, help="of the runs in single precision")
    parser.add_argument("--fit", nargs=3, help="for the script itself: precision, seed and file")
    options = parser.parse_args()
    if options.fit:
        precision, seed, out = options.fit
        fit(options.methods[0], precision, int(seed), out)
        return
    RECORDS.mkdir(exist_ok=True)
    file = RECORDS / "processes.json"
    for method in options.methods or deep_methods():
        double = labels_of(method, "double")
        same = agreement(double, labels_of(method, "double", processes=2))
        processes, threads = [], []
        for seed in range(options.seeds):
            one = labels_of(method, "single", seed)
            processes.append(agreement(one, labels_of(method, "single", seed, processes=2)))
            threads.append(agreement(one, labels_of(method, "single", seed, threads=2)))
        found = json.loads(file.read_text()) if file.is_file() else {}
        found[method] = {
            "rows": len(double),
            "double_one_and_two_processes": same,
            "single_one_and_two_processes": processes,
            "single_one_and_two_threads": threads,
        }
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(method, found[method], flush=True)


if __name__ == "__main__":
    main()
