"""Running a spec: every task in a process of its own, its record written once, in one step.

What is in the records folder is finished; what is in the work folder is on its way. A run that is killed goes on: tasks
with a record are skipped, and a deep method goes on from its checkpoint.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from deepclust.atomic import atomic_file
from deepclust.bench.spec import Task, config_hash
from deepclust.bench.task import main as carry_out_request
from deepclust.bench.task import make_estimator, settings_of
from deepclust.errors import DeepclustError

SEEN = "seen.json"


@dataclass(frozen=True)
class Store:
    """Where records lie: ``<data set>/<name>/seed<N>.json`` below a folder, and a log of what each set has seen.

    Seeds of one configuration form a set. Records of new settings wait in ``.staged-<name>`` until there are as many
    as of the former ones, or all that are asked for; then they take the place of the former set.
    """

    folder: Path

    def path(self, task: Task) -> Path:
        """Return where a task's record lies."""
        return self._home(task) / f"seed{task.seed}.json"

    def read(self, task: Task) -> dict[str, Any] | None:
        """Return a task's record if there is one of the same settings, in place or waiting."""
        for folder in (self._home(task), self._staged(task)):
            path = folder / f"seed{task.seed}.json"
            if path.is_file():
                record: dict[str, Any] = json.loads(path.read_text())
                if record["config_hash"] == hash_of(task):
                    return record
        return None

    def write(self, task: Task, record: dict[str, Any], *, seeds: int = 1) -> None:
        """Write a record.

        Parameters
        ----------
        task
            What it is of.
        record
            What was found.
        seeds
            Seeds that make a set whole.
        """
        self._finish_swap(task)
        home, staged = self._home(task), self._staged(task)
        former = _others(home, record["config_hash"])
        place = staged if former else home
        for other in _others(staged, record["config_hash"]):
            other.unlink()
        with atomic_file(place / f"seed{task.seed}.json") as part:
            part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        enough = range(min(seeds, len(former)))
        if former and all((staged / f"seed{seed}.json").is_file() for seed in enough):
            home.rename(self._former(task))
            self._finish_swap(task)

    def _finish_swap(self, task: Task) -> None:
        """Put a whole new set in place of the former one; a swap that was killed goes on here."""
        home, staged, former = self._home(task), self._staged(task), self._former(task)
        if not former.is_dir():
            return
        if not home.is_dir():
            staged.rename(home)
        shutil.rmtree(former)

    def _home(self, task: Task) -> Path:
        return self.folder / task.dataset / task.configuration.name

    def _staged(self, task: Task) -> Path:
        return self.folder / task.dataset / f".staged-{task.configuration.name}"

    def _former(self, task: Task) -> Path:
        return self.folder / task.dataset / f".former-{task.configuration.name}"

    def log_seen(self, task: Task) -> None:
        """Note which configurations a data set has seen, so that quiet tuning on it would show."""
        path = self.folder / SEEN
        seen: dict[str, dict[str, list[str]]] = json.loads(path.read_text()) if path.is_file() else {}
        hashes = seen.setdefault(task.dataset, {}).setdefault(task.configuration.name, [])
        if hash_of(task) not in hashes:
            hashes.append(hash_of(task))
            with atomic_file(path) as part:
                part.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n")


def _others(folder: Path, config_hash: str) -> list[Path]:
    """List records of other settings."""
    paths = sorted(folder.glob("seed*.json"))
    return [path for path in paths if json.loads(path.read_text())["config_hash"] != config_hash]


def hash_of(task: Task) -> str:
    """Return the fingerprint of a task's settings; the seed is not part of it."""
    from deepclust.bench.problems import PROBLEMS

    return config_hash(settings_of(make_estimator(task, PROBLEMS[task.dataset].n_clusters)))


def run_tasks(
    tasks: list[Task], store: Store, work: Path, *, say: Callable[[str], None], redo: bool = False, workers: int = 1
) -> list[str]:
    """Carry out the tasks that have no record yet.

    Parameters
    ----------
    tasks
        In the order in which they are begun.
    store
        Where records go.
    work
        Folder for checkpoints, logs and pretrained networks, outside the repository.
    say
        Called with a line on every task.
    redo
        Do tasks again that have a record.
    workers
        Tasks at a time; together they use as many threads as there are cores.

    Returns
    -------
    list of str
        What failed, a line each.
    """
    failed: list[str] = []
    seeds = Counter((task.dataset, task.configuration.name) for task in tasks)
    threads, one_at_a_time = max(1, _cores() // workers), Lock()

    def carry_on(number: int, task: Task) -> None:
        name = f"{task.dataset}/{task.configuration.name}/seed{task.seed}"
        place = f"[{number + 1}/{len(tasks)}] {name}"
        try:
            with one_at_a_time:
                if store.read(task) is not None and not redo:
                    return
                say(f"{place} ...")
                store.log_seen(task)
            state = _code_state()  # what runs is what lies there now; people go on working meanwhile
            record = {**_in_process(task, work, threads), **state}
            with one_at_a_time:
                store.write(task, record, seeds=seeds[task.dataset, task.configuration.name])
                say(f"{place}: {_line(record)}")
        except DeepclustError as error:
            failed.append(f"{name}: {error}")
            say(f"{place} failed: {error}")

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(carry_on, range(len(tasks)), tasks))
    return failed


def _line(record: dict[str, Any]) -> str:
    start = f" (start {record['start']['accuracy']:.3f})" if record["start"] else ""
    return f"accuracy {record['metrics']['accuracy']:.3f}{start}, {record['seconds']:.0f} s, {record['peak_mb']} MB"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processes() -> Any:
    """Return what starts processes: copies of one that has loaded the libraries, which takes seconds, and no more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["deepclust.bench.task", "lightning_fabric", "sklearn.cluster", "sklearn.mixture"])
    return context


def _in_process(task: Task, root: Path, threads: int) -> dict[str, Any]:
    """Run a task in a fresh process with its share of the machine's threads."""
    work = root / task.dataset / task.configuration.name / f"seed{task.seed}" / hash_of(task)
    work.mkdir(parents=True, exist_ok=True)
    request, out, log = work / "request.json", work / "record.json", work / "log.txt"
    content = {
        "configuration": asdict(task.configuration),
        "dataset": task.dataset,
        "seed": task.seed,
        "work": str(work),
        "networks": str(root / "networks"),
    }
    request.write_text(json.dumps(content))
    log.unlink(missing_ok=True)
    process = _processes().Process(target=carry_out_request, args=(str(request), str(out), str(log), threads))
    process.start()
    process.join()
    if process.exitcode != 0:
        lines = (log.read_text().strip().splitlines() if log.exists() else []) or ["no output"]
        raise DeepclustError(f"exit code {process.exitcode}: {lines[-1]} (log: {log})")
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

    changed = git(
        "status", "--porcelain", "--", "src", "benchmarks/quality/*.toml", "benchmarks/peers", "pyproject.toml"
    )
    return {"git": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}
