"""One process beside two on all of digits, with every method's own network and schedule.

python benchmarks/scale/processes.py [METHOD ...] [--only double | single | instructions]

In double precision, the share of rows that both give the same cluster, by its number; where that is less than 999 of
1,000, clusters are matched as well, and one process with two threads in the place of one is the yardstick of what other
sums alone do. In single precision, two processes and that yardstick, with clusters matched: their numbers may follow
from which rows come first. One seed shows little there: how far two runs part that differ by rounding depends on
whether some row near a border tips early, so several are run. The instructions of an older CPU are a second yardstick:
the same program on another machine.
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
_SAME = 0.999  # of the rows: below that, what else differs is recorded too
_OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


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


def labels_of(
    method: str, precision: str, seed: int = 0, *, processes: int = 1, threads: int = 1, older: bool = False
) -> torch.Tensor:
    """Fit in processes of their own and return the labels."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/labels.pt"
        ours = [__file__, method, "--fit", precision, str(seed), out]
        command = [sys.executable, *(launcher if processes > 1 else []), *ours]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **(_OLDER if older else {})}
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
        return torch.load(out)


def deep_methods() -> list[str]:
    """Return the names of all methods that train a network."""
    from deepclust.methods import METHODS

    return [name for name, entry in METHODS.items() if entry.kind == "deep"]


def same_number(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the share of rows in the cluster of the same number."""
    return float((ours == theirs).double().mean())


def same_cluster(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the share of rows in the same cluster, whatever its number."""
    from deepclust.metrics import accuracy

    return float(accuracy(ours.numpy(), theirs.numpy()))


def in_double(method: str) -> dict[str, object]:
    """Compare one process with two in double precision."""
    one, two = (labels_of(method, "double", processes=count) for count in (1, 2))
    found: dict[str, object] = {"rows": len(one), "double_one_and_two_processes": same_number(one, two)}
    if same_number(one, two) < _SAME:
        found["double_matched_one_and_two_processes"] = same_cluster(one, two)
        found["double_matched_one_and_two_threads"] = same_cluster(one, labels_of(method, "double", threads=2))
    return found


def in_single(method: str, seeds: int) -> dict[str, object]:
    """Compare one process with two, and with one of two threads, in single precision."""
    processes, threads = [], []
    for seed in range(seeds):
        one = labels_of(method, "single", seed)
        processes.append(same_cluster(one, labels_of(method, "single", seed, processes=2)))
        threads.append(same_cluster(one, labels_of(method, "single", seed, threads=2)))
    return {"single_one_and_two_processes": processes, "single_one_and_two_threads": threads}


def in_other_instructions(method: str, seeds: int) -> dict[str, object]:
    """Compare one process with itself on an older CPU's instructions, in single precision."""
    pairs = [(labels_of(method, "single", s), labels_of(method, "single", s, older=True)) for s in range(seeds)]
    return {"single_one_and_other_instructions": [same_cluster(*pair) for pair in pairs]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", help="all deep ones by default")
    parser.add_argument("--seeds", type=int, default=3, help="of the runs in single precision")
    parser.add_argument("--only", choices=["double", "single", "instructions"], help="keep what the record has else")
    parser.add_argument("--fit", nargs=3, help="for the script itself: precision, seed and file")
    options = parser.parse_args()
    if options.fit:
        precision, seed, out = options.fit
        fit(options.methods[0], precision, int(seed), out)
        return
    RECORDS.mkdir(exist_ok=True)
    file = RECORDS / "processes.json"
    for method in options.methods or deep_methods():
        found: dict[str, object] = {}
        if options.only in (None, "double"):
            found |= in_double(method)
        if options.only in (None, "single"):
            found |= in_single(method, options.seeds)
        if options.only in (None, "instructions"):
            found |= in_other_instructions(method, options.seeds)
        kept = json.loads(file.read_text()) if file.is_file() else {}
        former = kept.get(method, {})
        if "double_one_and_two_processes" in found:  # what came with the former one goes with it
            former = {name: value for name, value in former.items() if not name.startswith("double_")}
        kept[method] = former | found
        file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        print(method, found, flush=True)


if __name__ == "__main__":
    main()
