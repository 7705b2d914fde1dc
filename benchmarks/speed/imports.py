"""What ``import deepclust`` costs beyond the interpreter's own start, as a ratio within one run."""

import json
import statistics
import subprocess
import sys
import time

ROUNDS = 9


def seconds(code: str) -> float:
    """Time a fresh interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print one JSON object."""
    seconds("import deepclust")  # compiles
    pairs = [(seconds("pass"), seconds("import deepclust")) for _ in range(ROUNDS)]
    ratio = statistics.median(ours / bare for bare, ours in pairs)
    cost = statistics.median(ours - bare for bare, ours in pairs)
    print(json.dumps({"import deepclust / bare interpreter": round(ratio, 3), "seconds": round(cost, 3)}))


if __name__ == "__main__":
    main()
