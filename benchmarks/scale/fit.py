"""One pass a phase over rows that lie on disk: memory, and steps a second beside those of rows in memory.

python benchmarks/scale/fit.py ROWS.npy [--methods vade dec spectralnet] [--memory-rows 100000]

Every measurement is a process of its own, the one in memory before and after the one from disk. Memory is what the
process has for itself (anonymous pages); pages of the mapped file, which the system takes back when it wants to, are
left out.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

RECORDS = Path(__file__).with_name("records")
_EPOCHS = {"dec": {"schedule": 2}}  # of a phase; an epoch of these is half a pass


def anonymous_mb(process: int | str = "self") -> float:
    """Return a process's own memory; 0 where it has ended."""
    try:
        with open(f"/proc/{process}/status") as file:  # counters; to walk all pages would hold up who works on them
            return next((int(line.split()[1]) for line in file if line.startswith("RssAnon:")), 0) / 1024
    except OSError:
        return 0.0


def measure(path: str, method: str, rows: int | None) -> dict:
    """Fit once and return steps and seconds a phase, rows, and peak memory."""
    import numpy as np

    from deepclust import Callback, Schedule, Trainer
    from deepclust.methods import METHODS
    from deepclust.params import AbstractParameters

    class Count(Callback):
        def __init__(self):
            self.steps = {}

        def on_step(self, session, phase, progress):
            self.steps[phase.name] = self.steps.get(phase.name, 0) + 1

    def short(value, epochs):
        if isinstance(value, Schedule):
            return value(epochs=epochs)
        inner = value.get_params(deep=False).items()
        changed = {k: short(v, epochs) for k, v in inner if isinstance(v, AbstractParameters)}
        return value(**changed) if changed else value

    X = np.load(path, mmap_mode="r")
    if rows is not None:
        X = np.array(X[:rows])
    count = Count()
    model = METHODS[method].load()(10, random_state=0)
    parameters = {k: v for k, v in model.get_params(deep=False).items() if isinstance(v, AbstractParameters)}
    epochs = _EPOCHS.get(method, {})
    changed = {k: short(v, epochs.get(k, 1)) for k, v in parameters.items() if k != "trainer"}
    model.set_params(**changed, trainer=Trainer(batch_size=256, callbacks=(count,)))
    peak, over = [0.0], threading.Event()

    def watch():
        while not over.wait(0.5):
            peak[0] = max(peak[0], anonymous_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.monotonic()
    try:
        model.fit(X)
    finally:
        over.set()
        thread.join()
    seconds = dict.fromkeys(count.steps, 0.0)
    for line in model.result_.history:
        seconds[line["phase"]] += line["seconds"]
    return {
        "method": method,
        "rows": len(X),
        "on_disk": rows is None,
        "seconds": time.monotonic() - began,
        "steps": count.steps,
        "phases": seconds,
        "peak_anonymous_mb": round(peak[0]),
        "events": [event["kind"] for event in model.result_.events],
    }


def alone(*arguments: str) -> dict:
    """Measure in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rate(found: dict, phase: str) -> float:
    """Return steps a second."""
    return found["steps"][phase] / found["phases"][phase]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("--methods", nargs="+", default=["vade", "dec", "spectralnet"])
    parser.add_argument("--memory-rows", type=int, default=100_000)
    parser.add_argument("--one", help="for the script itself: disk or memory")
    options = parser.parse_args()
    if options.one:
        rows = options.memory_rows if options.one == "memory" else None
        print(json.dumps(measure(options.rows, options.methods[0], rows)))
        return
    RECORDS.mkdir(exist_ok=True)
    for method in options.methods:
        common = [options.rows, "--methods", method, "--memory-rows", str(options.memory_rows)]
        before, disk, after = (alone(*common, "--one", where) for where in ("memory", "disk", "memory"))
        found = {"memory": before, "disk": disk, "memory_again": after}
        found["rate_on_disk_over_in_memory"] = {
            phase: rate(disk, phase) / ((rate(before, phase) + rate(after, phase)) / 2) for phase in disk["phases"]
        }
        (RECORDS / f"fit-{method}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(method, json.dumps(found))


if __name__ == "__main__":
    main()
