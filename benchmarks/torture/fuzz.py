"""Feed files to the command line, guided by coverage: python benchmarks/torture/fuzz.py [RUNS]

The first byte chooses the kind of file, the rest is its content. A crash or a failed check ends the process with the
input beside it. Needs Linux and atheris.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).parents[2]
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
MOST = 4096  # bytes of an input
TRACED = ["deepclust.data", "deepclust.runs", "deepclust.naming", "deepclust.bench.spec"]


def fuzz(corpus: str, runs: int) -> None:
    """Run in a process of its own: libFuzzer ends the process that it runs in."""
    import atheris

    sys.path.insert(0, str(HOME))
    with atheris.instrument_imports(
        include=["deepclust.data", "deepclust.runs", "deepclust.naming", "deepclust.bench.spec"]
    ):
        from tests.torture.feeding import WHOLE, Kitchen

    kitchen = Kitchen(Path(tempfile.mkdtemp()))
    kinds = [
        kind for kind in WHOLE if not kind.endswith(".mat")
    ]  # read in a process of its own, where nothing is traced
    for number, kind in enumerate(kinds):
        (Path(corpus) / kind.replace("/", "-")).write_bytes(bytes([number]) + WHOLE[kind][: MOST - 1])

    def one(data: bytes) -> None:
        if data:
            kitchen.feed(kinds[data[0] % len(kinds)], data[1:])

    atheris.Setup(
        [
            sys.argv[0],
            corpus,
            f"-runs={runs}",
            f"-max_len={MOST}",
            "-len_control=0",
            "-timeout=10",
            "-rss_limit_mb=3000",
        ],
        one,
    )
    atheris.Fuzz()


def main() -> None:
    """Fuzz, and write the record."""
    with tempfile.TemporaryDirectory() as corpus:
        home = str(Path(__file__).parent)
        code = f"import sys; sys.path.insert(0, {home!r}); import fuzz; fuzz.fuzz({corpus!r}, {RUNS})"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        sys.stderr.write(done.stderr[-3000:])
        found = [line for line in done.stderr.splitlines() if "cov:" in line]
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HOME, capture_output=True, text=True, check=False)
        told = {"name": "fuzz", "git": git.stdout.strip(), "runs": RUNS, "exit": done.returncode, "last": found[-1:]}
        told["inputs_that_reached_something_new"] = len(list(Path(corpus).iterdir()))
        (HOME / "benchmarks" / "torture" / "fuzz.json").write_text(json.dumps(told, indent=1) + "\n")
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
