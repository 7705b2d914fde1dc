"""Predict very many rows in parts: the rate beside the bare network's, memory, and a kill in the middle.

python benchmarks/scale/predict.py ROWS.npy [--fit-rows 20000] [--kill]
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from fit import anonymous_mb

RECORDS = Path(__file__).with_name("records")
BARE_ROWS = 200_000


def bare_rate(run: Path, X: np.ndarray) -> float:
    """Return rows a second of the network alone: scaled batches in memory, no checks, nothing written."""
    from deepclust import load
    from deepclust.engine.inference import CHUNK

    model = load(run / "model")
    x = model.scaler_(torch.from_numpy(np.array(X[:CHUNK])))
    count = min(BARE_ROWS, len(X)) // CHUNK
    with torch.inference_mode():
        model.model_.assign(x)
        began = time.monotonic()
        for _ in range(count):
            model.model_.assign(x)
        return count * CHUNK / (time.monotonic() - began)


def watched(command: list[str]) -> list[float]:
    """Run to the end and return the process's own memory, twice a second."""
    process, seen = subprocess.Popen(command), []
    while process.poll() is None:
        seen.append(anonymous_mb(process.pid))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seen


def is_half_done(out: Path) -> bool:
    """Tell whether half of the parts are there."""
    if not (out / "_job.json").is_file():
        return False
    job = json.loads((out / "_job.json").read_text())
    return 2 * job["part_rows"] * len(list(out.glob("part-*"))) >= job["rows"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("--fit-rows", type=int, default=20_000)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deepclust-scale-", dir=Path(options.rows).parent))
    X = np.load(options.rows, mmap_mode="r")
    np.save(folder / "some.npy", X[: options.fit_rows])
    program = [sys.executable, "-m", "deepclust"]
    quick = ["-p", "pretrain__epochs=1", "--epochs", "1", "--quiet"]
    run, out = folder / "run", folder / "out"
    subprocess.run([*program, "fit", folder / "some.npy", "-k", "10", "--out", run, *quick], check=True)
    bare = bare_rate(run, X)
    command = [*program, "predict", str(run), options.rows, "--out", str(out), "--json"]
    began, killed, before = time.monotonic(), None, set()
    if options.kill:
        process = subprocess.Popen(command)
        while process.poll() is None and not is_half_done(out):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = len(list(out.glob("part-*")))
        began = time.monotonic()
        before = {path.name for path in out.glob("part-*.parquet")}
    memory = watched(command)
    seconds = time.monotonic() - began
    files = sorted(out.glob("part-*.parquet"))
    numbers = [pq.read_table(file, columns=["row"]).column(0).to_numpy() for file in files]
    done = sum(len(n) for n, file in zip(numbers, files, strict=True) if file.name not in before)
    record = {
        "rows": len(X),
        "bare_rows_a_second": bare,
        "rows_a_second": done / seconds,
        "share_of_bare": done / seconds / bare,
        "killed_after_parts": killed,
        "rows_are_whole": bool((np.concatenate(numbers) == np.arange(len(X))).all()),
        "peak_anonymous_mb": round(max(memory)),
        "peak_anonymous_mb_of_the_first_fifth": round(max(memory[: max(1, len(memory) // 5)])),
        "threads": torch.get_num_threads(),
    }
    shutil.rmtree(folder)
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"predict{'-killed' if options.kill else ''}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
