"""Bytes into the command line by every way that files come in; used by the mutation test and by the guided fuzzer."""

import contextlib
import gzip
import io
import json
import struct
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

from deepclust.cli.main import main
from tests.common.small import small

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
CODES = {0, 1, 2, 3, 4, 5, 6}
QUICK = ["-p", "pretrain__epochs=1", "--epochs", "1", "-p", 'trainer__precision="fp32"', "--method", "dec", "--quiet"]


def call(arguments):
    """Call the command line; return exit code, standard output, standard error, seconds."""
    out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, sys.argv = sys.argv, ["deepclust", *map(str, arguments)]
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = before
    return code or 0, out.getvalue(), err.getvalue(), time.monotonic() - began


def bytes_of(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def idx(array):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


TABLE = "a,b\n" + "\n".join(f"{i},{i * 0.5}" for i in range(6)) + "\n"
# Of every kind of file one that is whole, which mutations start from.
WHOLE = {
    "x.npy": bytes_of(lambda f: np.save(f, IMAGES)),
    "x.npz": bytes_of(lambda f: np.savez_compressed(f, X=IMAGES)),
    "x.mat": bytes_of(lambda f: savemat(f, {"fea": IMAGES})),
    "x-idx3-ubyte.gz": gzip.compress(idx(IMAGES), mtime=0),
    "x.idx": idx(IMAGES),
    "x.csv": TABLE.encode(),
    "x.parquet": bytes_of(lambda f: pq.write_table(pa.table({"a": np.arange(6), "b": np.arange(6) * 0.5}), f)),
    "folder/x.png": bytes_of(lambda f: Image.fromarray(IMAGES[0]).save(f, "png")),
    "folder/x.jpg": bytes_of(lambda f: Image.fromarray(IMAGES[0]).save(f, "jpeg")),
    "folder/x.gif": bytes_of(lambda f: Image.fromarray(IMAGES[0]).save(f, "gif")),
    "folder/x.tif": bytes_of(lambda f: Image.fromarray(IMAGES[0]).save(f, "tiff")),
    "folder/x.webp": bytes_of(lambda f: Image.fromarray(IMAGES[0]).save(f, "webp")),
    "names.csv": b"cluster,name\n0,left\n1,right\n",
    "labels.txt": b"a b a b a b",
    "labels.npy": bytes_of(lambda f: np.save(f, np.arange(6))),
    "labels.parquet": bytes_of(lambda f: pq.write_table(pa.table({"y": list("ababab")}), f)),
    "run.json": b"",  # of the run itself, filled below
    "table.json": b"",
    "spec.toml": b'[[run]]\nname = "kmeans"\ndatasets = ["digits"]\nseeds = 1\n',
}


LABELS = [kind for kind in WHOLE if kind.startswith("labels.")]


class Kitchen:
    """Two finished runs, one on images and one on a table, and a place to put files."""

    def __init__(self, home: Path) -> None:
        self.home, self.images, self.table = home, home / "images", home / "table"
        (home / "start.npy").write_bytes(WHOLE["x.npy"])
        (home / "start.csv").write_text(TABLE)
        for source, out in (("start.npy", self.images), ("start.csv", self.table)):
            code, _, error, _ = call(["fit", home / source, "-k", 2, "--out", out, *QUICK])
            assert code == 0, error
        WHOLE["run.json"] = (self.table / "run.json").read_bytes()
        WHOLE["table.json"] = (self.table / "table.json").read_bytes()
        small("dec")  # so that late imports are done

    def feed(self, kind: str, content: bytes) -> tuple[int, str]:
        """Put a file where the command line reads it; check what must hold whatever the bytes are.

        Returns the exit code and what was said.
        """
        target = self.home / "fed" / kind
        target.parent.mkdir(parents=True, exist_ok=True)
        out = self.home / "out.parquet"
        restored = None
        if kind in ("run.json", "table.json"):
            restored = self.table / kind
            restored.write_bytes(content)
        else:
            target.write_bytes(content)
        beside = ["--labels", target, "--out", self.home / "no", "-k", 9, *QUICK]
        run = self.table if kind in ("x.csv", "x.parquet") else self.images
        arguments = {
            "names.csv": ["relabel", self.table, target, "--quiet"],
            "run.json": ["predict", self.table, self.home / "start.csv", "--out", out, "--quiet"],
            "table.json": ["predict", self.table, self.home / "start.csv", "--out", out, "--quiet"],
            "spec.toml": ["bench", "status", target, "--records", self.home / "records"],
            **{name: ["fit", self.home / "start.csv", *beside] for name in LABELS},
        }.get(kind, ["predict", run, target.parent if kind.startswith("folder/") else target, "--out", out, "--quiet"])
        try:
            code, said, error, seconds = call(arguments)
        finally:
            target.unlink(missing_ok=True)
            if restored is not None:
                restored.write_bytes(WHOLE[kind])
        assert code in CODES, f"exit code {code}: {error}"
        assert "Traceback" not in said + error, error
        assert seconds < 10, f"{seconds:.0f} s"
        if code != 0:
            assert error.count("\n") <= 1 or "Usage" in error, error
            assert len(error) < 2000, error
            assert not out.exists(), "half a result"
        else:
            assert "labels" not in kind, "k is larger than the number of rows"
        out.unlink(missing_ok=True)
        left = [path.name for path in self.home.rglob("*.part")]
        assert left == [], left
        return code, error

    def is_whole(self) -> bool:
        """Whether the runs are as they were."""
        return json.loads((self.table / "run.json").read_text())["status"] == "finished"
