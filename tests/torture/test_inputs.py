"""Bad input by the thousand: a sentence and an exit code, never a traceback, a hang, or half a result."""

import gzip
import random
import resource
import struct
import zipfile
from collections import Counter

import numpy as np
import pytest

from deepclust.methods import METHODS
from tests.common.torture import count, record
from tests.torture.feeding import CODES, IMAGES, QUICK, WHOLE, Kitchen, bytes_of, call, idx


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    return Kitchen(tmp_path_factory.mktemp("kitchen"))


def flipped(rng, content):
    content = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def cut(rng, content):
    return content[: rng.randrange(len(content) + 1)]


def repeated(rng, content):
    a = rng.randrange(len(content) + 1)
    b = rng.randint(a, min(len(content), a + 64))
    return content[:b] + content[a:b] * rng.randint(1, 50) + content[b:]


def spliced(rng, content):
    other = WHOLE[rng.choice(list(WHOLE))]
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def renumbered(rng, content):
    """A number somewhere becomes a large one."""
    a = rng.randrange(len(content) + 1)
    return content[:a] + rng.choice([b"\xff" * 4, b"\x7f" * 8, b"9" * 30, b"-1", b"nan", b"1e999"]) + content[a + 4 :]


def noise(rng, content):
    return content[: rng.choice([0, 4, 8, 16])] + rng.randbytes(rng.randrange(300))


MUTATIONS = (flipped, cut, repeated, spliced, renumbered, noise)


def test_whole_files_are_taken(kitchen):
    for kind, content in WHOLE.items():
        code, error = kitchen.feed(kind, content)
        assert code == (0 if "labels" not in kind else 3), f"{kind}: {error}"


@pytest.mark.timeout(3600)
def test_no_file_brings_the_command_line_down(kitchen):
    n = count(400, 7000)
    tally, failures = Counter(), []
    for number in range(n):
        rng = random.Random(number)
        kind = list(WHOLE)[number % len(WHOLE)]
        content = WHOLE[kind]
        for _ in range(rng.choice([1, 1, 2, 4])):
            content = rng.choice(MUTATIONS)(rng, content)
        try:
            code, _ = kitchen.feed(kind, content)
            tally[code] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failures.append(f"{number} ({kind}): {type(error).__name__}: {str(error)[:300]}")
    record(
        "bad-files", files=n, exit_codes={str(code): times for code, times in sorted(tally.items())}, failures=failures
    )
    assert failures == [], "\n".join(failures)
    assert kitchen.is_whole()
    assert tally[0] < 0.6 * n, "mutations must break something"


def bombs():
    zeros = bytes(200_000_000)
    huge = b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**15, 2**15)
    yield "x-idx3-ubyte.gz", gzip.compress(idx(IMAGES) + zeros, 1)
    yield "x-idx3-ubyte.gz", gzip.compress(huge + bytes(100))
    yield "x.idx", huge + bytes(100)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000), }"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    yield "x.npy", array + bytes(100)

    def inside(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("X.npy", array + bytes(100))

    yield "x.npz", bytes_of(inside)
    yield "folder/x.png", bytes_of(lambda f: __import__("PIL.Image").Image.new("L", (30_000, 30_000)).save(f, "png"))


def test_files_that_promise_or_unpack_to_too_much_are_refused(kitchen):
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, content in list(bombs()):
        code, error = kitchen.feed(kind, content)
        assert code == 3, f"{kind}: {error}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base < 1_500_000, "KiB"


WORDS = ["fit", "predict", "sample", "report", "compare", "relabel", "export", "methods", "datasets", "bench", "run",
         "status", "table", "{run}", "{table}", "{images}", "absent", "", "-", "--", "--help", "-k", "--clusters", "0", "-1",
         "2", "3.5", "nan", "99999999999999999999", "--method", *METHODS, "--seed", "--out", "{new}", "{run}/run.json",
         "--epochs", "1", "--param", "-p", "a=b", "=", "network=1", "trainer__device=\"tpu\"", "schedule=[1]", "x" * 5000,
         "--labels", "--id", "a", "b", "--quiet", "--json", "--overwrite", "--lang", "zh", "--cluster", "--threshold", "2.0",
         "--image-size", "8x8", "0x0", "--device", "cpu", "--with", "\x01", "é\u202e\n", "--port", "--max-seconds", "0.01",
         "--missing", "mean", "--image-mode", "rgb", "-n", "5", "model.onnx", "names.csv", "--resume"]  # fmt: skip


@pytest.mark.timeout(3600)
def test_no_arguments_bring_the_command_line_down(kitchen, tmp_path, monkeypatch):
    n = count(150, 3000)
    monkeypatch.chdir(tmp_path)
    tally, failures, slowest = Counter(), [], 0.0
    for number in range(n):
        rng = random.Random(number)
        words = [rng.choice(WORDS) for _ in range(rng.randint(0, 7))]
        first = rng.choice(["fit", "predict", "sample", "report", "compare", "relabel", "export", "bench", None])
        words = words if first is None else [first, *words]
        words += [*QUICK, "--max-seconds", "1"] if first == "fit" else []
        named = {"run": kitchen.table, "table": kitchen.home / "start.csv", "images": kitchen.home / "start.npy",
                 "new": tmp_path / f"new{number}"}  # fmt: skip
        words = [word.format(**named) if word.startswith("{") else word for word in words]
        try:
            code, said, error, seconds = call(words)
            slowest = max(slowest, seconds)
            tally[code] += 1
            assert code in CODES, code
            assert "Traceback" not in said + error
            assert seconds < 20
            assert not list(tmp_path.rglob("*.part"))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failures.append(f"{number} {words}: {type(error).__name__}: {str(error)[:300]}")
    record("bad-arguments", calls=n, exit_codes={str(c): t for c, t in sorted(tally.items())}, failures=failures,
           slowest_seconds=round(slowest, 1))  # fmt: skip
    assert failures == [], "\n".join(failures)
    assert tally[2] > 0.2 * n
    assert kitchen.is_whole()


def test_rows_of_nothing_come_back_as_a_sentence(kitchen):
    np.save(kitchen.home / "none.npy", np.empty((0, 4, 5)))
    code, _, error, _ = call(["predict", kitchen.images, kitchen.home / "none.npy", "--quiet"])
    assert code == 3
    assert error.count("\n") == 1
