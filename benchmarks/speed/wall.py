"""Whole fits of several methods by their defaults, one after the other on an idle machine, all cores each.

python benchmarks/speed/wall.py WORK [--datasets digits usps mnist-test] [--methods dec jule depict]

Records of the benchmark are made on several machines, often side by side, so that their seconds cannot be compared;
these can, within one data set. WORK is a folder outside the repository: checkpoints lie there, and a run that was
killed goes on. Seconds are those of `deepclust bench run`, seed 0, pretraining included.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

METHODS = ("dec", "jule", "depict")
RECORDS = Path(__file__).with_name("records")
_SPEC = '[[run]]\nname = "{}"\ndatasets = ["{}"]\nseeds = 1\n'
_KEPT = ("seconds", "phases", "resumed", "device", "git", "dirty", "versions")
_STATE = ("device", "git", "dirty", "versions")  # the same for all that are compared


def fit(method: str, dataset: str, work: Path) -> dict:
    """Carry out one task of the benchmark and return what its record says of time, accuracy and machine."""
    spec = work / "specs" / f"{dataset}-{method}.toml"
    spec.parent.mkdir(parents=True, exist_ok=True)
    spec.write_text(_SPEC.format(method, dataset))
    arguments = ["bench", "run", str(spec), "--records", str(work / "records"), "--work", str(work / "work")]
    subprocess.run([sys.executable, "-m", "deepclust", *arguments], check=True)
    record = json.loads((work / "records" / dataset / method / "seed0.json").read_text())
    start = (record["start"] or {}).get("accuracy")
    accuracy = {"accuracy": record["metrics"]["accuracy"], "accuracy_at_start": start}
    return {key: record[key] for key in _KEPT} | accuracy


def compare(methods: list[str], dataset: str, work: Path) -> dict:
    """Run all methods on one data set; seconds also as multiples of the first method's."""
    if len(set(methods)) < len(methods):
        raise SystemExit(f"--methods must not name a method twice. Got {' '.join(methods)}.")
    found = {method: fit(method, dataset, work) for method in methods}
    states = [{key: one.pop(key) for key in _STATE} for one in found.values()]
    if any(state != states[0] for state in states):
        raise SystemExit(f"Runs on {dataset} were made in different states; begin in a new folder. Got {states}.")
    first = found[methods[0]]["seconds"]
    for one in found.values():
        one["ratio"] = round(one["seconds"] / first, 2)
    return {"dataset": dataset, "methods": found, **states[0]}


def main() -> None:
    """Print one line a data set, and write its record where no default method is missing from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["digits", "usps", "mnist-test"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    arguments = parser.parse_args()
    load = round(os.getloadavg()[0], 2)  # of other programs; later it is that of the fits
    for dataset in arguments.datasets:
        record = compare(arguments.methods, dataset, arguments.work.resolve())
        record["load_at_start"] = load
        if set(METHODS) <= set(arguments.methods):
            RECORDS.mkdir(exist_ok=True)
            (RECORDS / f"wall-{dataset}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps({method: [one["seconds"], one["ratio"]] for method, one in record["methods"].items()}))


if __name__ == "__main__":
    main()
