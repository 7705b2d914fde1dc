"""Running a spec: every task in a process of its own, its record written once, in one step.

What is in the records folder is finished; what is in the work folder is on its way. A run that is killed goes on: tasks
with a record are skipped, and a deep method goes on from its checkpoint.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepclust.atomic import atomic_file
from deepclust.bench.spec import Task, config_hash
from deepclust.bench.task import make_estimator, settings_of
from deepclust.errors import DeepclustError

SEEN = "seen.json"


@dataclass(frozen=True)
class Store:
    """Where records lie: ``<data set>/<name>/seed<N>.json`` below a folder, and a log of what each set has seen."""

    folder: Path

    def path(self, task: Task) -> Path:
        """Return where a task's record lies."""
        return self.folder / task.dataset / task.configuration.name / f"seed{task.seed}.json"

    def read(self, task: Task) -> dict[str, Any] | None:
        """Return a task's record if there is one of the same settings."""
        path = self.path(task)
        if not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text())
        return record if record["config_hash"] == hash_of(task) else None

    def write(self, task: Task, record: dict[str, Any]) -> None:
        """Write a record. The first of new settings clears the former set: seeds are replaced only as a set."""
        folder = self.path(task).parent
        for former in sorted(folder.glob("seed*.json")):
            if json.loads(former.read_text())["config_hash"] != record["config_hash"]:
                former.unlink()
        with atomic_file(self.path(task)) as part:
            part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")

    def log_seen(self, task: Task) -> None:
        """Note which configurations a data set has seen, so that quiet tuning on it would show."""
        path = self.folder / SEEN
        seen: dict[str, dict[str, list[str]]] = json.loads(path.read_text()) if path.is_file() else {}
        hashes = seen.setdefault(task.dataset, {}).setdefault(task.configuration.name, [])
        if hash_of(task) not in hashes:
            hashes.append(hash_of(task))
            with atomic_file(path) as part:
                part.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n")


def hash_of(task: Task) -> str:
    """Return the fingerprint of a task's settings; the seed is not part of it."""
    from deepclust.bench.problems import PROBLEMS

    return config_hash(settings_of(make_estimator(task, PROBLEMS[task.dataset].n_clusters)))


def run_tasks(
    tasks: list[Task], store: Store, work: Path, *, say: Callable[[str], None], redo: bool = False
) -> list[str]:
    """Carry out the tasks that have no record yet, one after the other.

    Parameters
    ----------
    tasks
        In the order in which they are run.
    store
        Where records go.
    work
        Folder for checkpoints and logs, outside the repository.
    say
        Called with a line on every task.
    redo
        Do tasks again that have a record.

    Returns
    -------
    list of str
        What failed, a line each.
    """
    failed = []
    for number, task in enumerate(tasks):
        name = f"{task.dataset}/{task.configuration.name}/seed{task.seed}"
        if store.read(task) is not None and not redo:
            continue
        say(f"[{number + 1}/{len(tasks)}] {name} ...")
        try:
            store.log_seen(task)
            record = _in_process(task, work / name / hash_of(task))
            store.write(task, {**record, **_code_state()})
            say(f"[{number + 1}/{len(tasks)}] {name}: {_line(record)}")
        except DeepclustError as error:
            failed.append(f"{name}: {error}")
            say(f"[{number + 1}/{len(tasks)}] {name} failed: {error}")
    return failed


def _line(record: dict[str, Any]) -> str:
    start = f" (start {record['start']['accuracy']:.3f})" if record["start"] else ""
    return f"accuracy {record['metrics']['accuracy']:.3f}{start}, {record['seconds']:.0f} s, {record['peak_mb']} MB"


def _in_process(task: Task, work: Path) -> dict[str, Any]:
    """Run a task in a fresh process, which has as many threads as this machine has cores."""
    work.mkdir(parents=True, exist_ok=True)
    request, out, log = work / "request.json", work / "record.json", work / "log.txt"
    content = {
        "configuration": asdict(task.configuration),
        "dataset": task.dataset,
        "seed": task.seed,
        "work": str(work),
    }
    request.write_text(json.dumps(content))
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    environment = {"OMP_NUM_THREADS": cores, "NUMBA_NUM_THREADS": cores, **os.environ}
    with log.open("w") as file:
        command = [sys.executable, "-m", "deepclust.bench.task", str(request), str(out)]
        code = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False).returncode
    if code != 0:
        lines = log.read_text().strip().splitlines() or ["no output"]
        raise DeepclustError(f"exit code {code}: {lines[-1]} (log: {log})")
    record: dict[str, Any] = json.loads(out.read_text())
    return record


def _code_state() -> dict[str, Any]:
    """Say which commit ran, and whether source or specs differ from it."""
    root = Path(__file__).resolve().parents[3]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "benchmarks/quality/*.toml", "pyproject.toml")
    return {"git": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}
