"""One pass a phase over rows that lie on disk: the memory it takes, and its rate beside that of rows in memory.

python benchmarks/scale/fit.py ROWS.npy [--methods vade dec spectralnet] [--steps 3200] [--block 200]

Memory is measured in a process of its own: what it has for itself (anonymous pages); pages of the mapped file, which
the system takes back when it wants to, are left out. For the rate, another process holds a copy of all rows in memory
and trains in turn, a block of steps each, from the file and from the copy. Neighbours differ in nothing else, so the
median of their ratios counts: whole runs, one after the other, differ by a third on a machine that others share.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from unittest import mock

RECORDS = Path(__file__).with_name("records")
_EPOCHS = {"dec": {"schedule": 2}}  # of a phase; an epoch of these is half a pass


def anonymous_mb(process: int | str = "self") -> float:
    """Return a process's own memory; 0 where it has ended."""
    try:
        with open(f"/proc/{process}/status") as file:  # counters; to walk all pages would hold up who works on them
            return next((int(line.split()[1]) for line in file if line.startswith("RssAnon:")), 0) / 1024
    except OSError:
        return 0.0


def brief(method: str, steps: int | None):
    """Return an estimator whose phases are one pass long, or so many steps."""
    from deepclust import Schedule, Trainer
    from deepclust.methods import METHODS
    from deepclust.params import AbstractParameters

    def short(value, epochs):
        if isinstance(value, Schedule):
            return value(epochs=epochs) if steps is None else value(epochs=1, steps=steps)
        inner = value.get_params(deep=False).items()
        changed = {k: short(v, epochs) for k, v in inner if isinstance(v, AbstractParameters)}
        return value(**changed) if changed else value

    model = METHODS[method].load()(10, random_state=0)
    parameters = {k: v for k, v in model.get_params(deep=False).items() if isinstance(v, AbstractParameters)}
    epochs = _EPOCHS.get(method, {})
    changed = {k: short(v, epochs.get(k, 1)) for k, v in parameters.items() if k != "trainer"}
    return model.set_params(**changed, trainer=Trainer(batch_size=256))


def peak(path: str, method: str) -> dict:
    """Fit once from disk and return rows, seconds and peak memory."""
    import numpy as np

    X = np.load(path, mmap_mode="r")
    model = brief(method, None)
    most, over = [0.0], threading.Event()

    def watch():
        while not over.wait(0.5):
            most[0] = max(most[0], anonymous_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.monotonic()
    try:
        model.fit(X)
    finally:
        over.set()
        thread.join()
    seconds: dict[str, float] = defaultdict(float)
    for line in model.result_.history:
        seconds[line["phase"]] += line["seconds"]
    return {
        "rows": len(X),
        "seconds": time.monotonic() - began,
        "seconds_of_phases": seconds,
        "peak_anonymous_mb": round(most[0]),
        "events": [event["kind"] for event in model.result_.events],
    }


def rates(path: str, method: str, steps: int, block: int) -> dict:
    """Fit once, in turn from disk and from memory, and return what a block of steps took, phase by phase."""
    import numpy as np

    from deepclust import Callback
    from deepclust.engine import session as engine
    from deepclust.engine.reading import read_steps

    X = np.load(path, mmap_mode="r")
    copy = np.array(X)
    took: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"disk": [], "memory": []})
    phase_now = [""]

    class Phases(Callback):
        def on_phase_start(self, session, phase, progress):
            phase_now[0] = phase.name

    def in_turn(rows, batches, first):
        assert first == 0
        held = dataclasses.replace(rows, source=copy) if rows.is_stored else rows  # a sample's graph: in memory anyway
        for number in itertools.count():
            part = list(itertools.islice(batches, block))
            if not part:
                return
            place, where = ("disk", rows) if number % 2 else ("memory", held)
            began, skipped = time.perf_counter(), itertools.repeat(None, number * block)
            yield from read_steps(where, itertools.chain(skipped, part), number * block)
            if len(part) == block and rows.is_stored:
                took[phase_now[0]][place].append((time.perf_counter() - began) / block)

    model = brief(method, steps)
    model.set_params(trainer__callbacks=(Phases(),))
    with mock.patch.object(engine, "read_steps", in_turn):
        model.fit(X)
    found = {}
    for phase, blocks in took.items():
        pairs = list(zip(blocks["memory"], blocks["disk"], strict=False))[1:]  # the first warms up
        found[phase] = {
            "rate_on_disk_over_in_memory": statistics.median(memory / disk for memory, disk in pairs),
            "milliseconds_a_step_in_memory": 1000 * statistics.median(memory for memory, _ in pairs),
            "milliseconds_a_step_on_disk": 1000 * statistics.median(disk for _, disk in pairs),
            "pairs": len(pairs),
        }
    return {"block": block, "phases": found}


def alone(*arguments: str) -> dict:
    """Measure in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("--methods", nargs="+", default=["vade", "dec", "spectralnet"])
    parser.add_argument("--steps", type=int, default=3200, help="a phase, where the rate is measured")
    parser.add_argument("--block", type=int, default=200)
    parser.add_argument("--only", choices=["peak", "rates"], help="keep what the record has of the other")
    parser.add_argument("--one", help="for the script itself: peak or rates")
    options = parser.parse_args()
    if options.one:
        method = options.methods[0]
        measured = (
            peak(options.rows, method)
            if options.one == "peak"
            else rates(options.rows, method, options.steps, options.block)
        )
        print(json.dumps(measured))
        return
    RECORDS.mkdir(exist_ok=True)
    for method in options.methods:
        record = RECORDS / f"fit-{method}.json"
        found = json.loads(record.read_text()) if options.only and record.is_file() else {"method": method}
        common = [options.rows, "--methods", method, "--steps", str(options.steps), "--block", str(options.block)]
        for what in [options.only] if options.only else ["peak", "rates"]:
            found[what] = alone(*common, "--one", what)
        record.write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(found))


if __name__ == "__main__":
    main()
