"""Predictions in parts: the same as in one piece, whatever is cut off on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import make_blobs
from tests.common.processes import ENVIRONMENT, PROGRAM

from deepclust.data.ranges import open_ranges
from deepclust.data.readers import ReadOptions
from deepclust.data.tables import TableEncoder
from deepclust.errors import DeepclustError, InvalidDataError, RunFolderError
from deepclust.lake import predict_parts
from deepclust.runs import Request, Run, create_run, perform

ROWS = 5_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, rows it never saw as an array and as a partitioned table, and what it says of them."""
    folder = tmp_path_factory.mktemp("lake")
    X = make_blobs(ROWS, n_features=8, centers=4, random_state=0)[0].astype(np.float32)
    np.save(folder / "train.npy", X[:300])
    np.save(folder / "rows.npy", X)
    names = [f"v{i}" for i in range(8)]
    table = pa.table({"name": [f"row {i}" for i in range(ROWS)], **{v: X[:, i] for i, v in enumerate(names)}})
    pq.write_table(table.slice(0, 300).drop_columns(["name"]), folder / "train.parquet")
    for number, (begin, stop) in enumerate([(0, 1_900), (1_900, 1_901), (1_901, ROWS)]):
        (folder / "lake").mkdir(exist_ok=True)
        pq.write_table(table.slice(begin, stop - begin), folder / "lake" / f"{number}.parquet", row_group_size=700)
    params = {"pretrain__epochs": 5, "schedule__epochs": 5}
    for kind, read in (("npy", ReadOptions()), ("parquet", ReadOptions(id_column=None))):
        request = Request(str(folder / f"train.{kind}"), "vade", 4, params=params, read=read)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "umap", None)  # its compilation takes longer than everything else here
            perform(create_run(folder / f"run-{kind}", request))
    return folder


def read_parts(out):
    files = sorted(out.glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]), files


def test_parts_are_the_whole(folder, tmp_path):
    run = Run(folder / "run-npy")
    sizes = predict_parts(run, str(folder / "rows.npy"), tmp_path / "out", part_rows=700)
    table, files = read_parts(tmp_path / "out")
    assert len(files) == 7, "700 rows are rounded up to three batches of 256"
    assert table.column("row").to_pylist() == list(range(ROWS))
    model, X = run.load_model(), np.load(folder / "rows.npy")
    np.testing.assert_array_equal(table.column("cluster"), model.predict(X))
    np.testing.assert_array_equal(table.column("probability"), model.predict_proba(X).max(axis=1))
    np.testing.assert_array_equal(sizes, np.bincount(table.column("cluster"), minlength=4))
    # Readers of folders see one table, and no job.
    assert pq.read_table(tmp_path / "out").num_rows == ROWS


def test_a_part_that_is_missing_or_cut_short_is_made_again_and_no_other(folder, tmp_path):
    run, out = Run(folder / "run-npy"), tmp_path / "out"
    predict_parts(run, str(folder / "rows.npy"), out, part_rows=700)
    before, files = read_parts(out)
    times = {file.name: file.stat().st_mtime_ns for file in files}
    files[2].unlink()
    files[4].write_bytes(files[4].read_bytes()[:500])
    (out / ".part-0000002.parquet.x.part").write_bytes(b"what a kill left")
    predict_parts(run, str(folder / "rows.npy"), out, part_rows=700)
    after, files = read_parts(out)
    assert after.equals(before)
    changed = [file.name for file in files if file.stat().st_mtime_ns != times[file.name]]
    assert changed == ["part-0000002.parquet", "part-0000004.parquet"]
    assert not list(out.glob(".*.part"))


def test_tables_are_read_by_row_groups_with_their_ids(folder, tmp_path):
    run, out = Run(folder / "run-parquet"), tmp_path / "out"
    predict_parts(run, str(folder / "lake"), out, read=ReadOptions(id_column="name"), part_rows=512)
    table, files = read_parts(out)
    assert len(files) == 10
    assert table.column("name").to_pylist() == [f"row {i}" for i in range(ROWS)]
    X = np.load(folder / "rows.npy")
    np.testing.assert_array_equal(table.column("cluster"), run.load_model().predict(X))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 5_000), (699, 701), (1_899, 1_902), (1_900, 1_901), (4_999, 5_000)]
)
def test_ranges_of_a_table_are_its_rows(start, stop, folder):
    encoder = TableEncoder().fit(pq.read_table(folder / "train.parquet"))
    ranges = open_ranges(str(folder / "lake"), ReadOptions(id_column="name"), encoder)
    found = ranges.read(start, stop)
    np.testing.assert_array_equal(found.X, np.load(folder / "rows.npy")[start:stop])
    assert list(found.ids) == [f"row {i}" for i in range(start, stop)]
    plain = open_ranges(str(folder / "lake"), ReadOptions(id_column="name"))
    np.testing.assert_array_equal(plain.read(start, stop).X, found.X)


def test_folders_of_others_are_left_alone(folder, tmp_path):
    run, out = Run(folder / "run-npy"), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="holds other files"):
        predict_parts(run, str(folder / "rows.npy"), out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_kill_before_the_first_part_is_no_obstacle(folder, tmp_path):
    run, out = Run(folder / "run-npy"), tmp_path / "out"
    out.mkdir()
    (out / "._job.json.x.part").write_text("{")
    assert predict_parts(run, str(folder / "rows.npy"), out).sum() == ROWS
    assert sorted(path.name for path in out.iterdir()) == ["_job.json", "part-0000000.parquet"]


def test_parts_of_another_job_are_kept_unless_told(folder, tmp_path):
    run, out = Run(folder / "run-npy"), tmp_path / "out"
    predict_parts(run, str(folder / "rows.npy"), out, part_rows=700)
    with pytest.raises(RunFolderError, match="predictions of another model, source or size"):
        predict_parts(run, str(folder / "train.npy"), out, part_rows=700)
    assert predict_parts(run, str(folder / "train.npy"), out, part_rows=700, overwrite=True).sum() == 300
    assert len(read_parts(out)[1]) == 1


def test_missing_columns_are_named(folder, tmp_path):
    short = pq.read_table(folder / "train.parquet").drop_columns(["v3"])
    pq.write_table(short, tmp_path / "short.parquet")
    with pytest.raises(InvalidDataError, match="lacks columns that the model knows: 'v3'"):
        predict_parts(Run(folder / "run-parquet"), str(tmp_path / "short.parquet"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def command(folder, out, *options):
    return [*PROGRAM, "predict", folder / "run-npy", folder / "rows.npy", "--out", out, "--part-rows", "256", *options]


def test_a_killed_command_goes_on_where_it_was(folder, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert subprocess.run(command(folder, whole), env=ENVIRONMENT, check=False).returncode == 0
    kills = 0
    for wanted in (1, 6, 12):
        process = subprocess.Popen(command(folder, out, "--quiet"), env=ENVIRONMENT)
        while process.poll() is None and len(list(out.glob("part-*.parquet"))) < wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills > 0
    done = subprocess.run(command(folder, out, "--json"), env=ENVIRONMENT, check=False, capture_output=True)
    assert json.loads(done.stdout)["rows"] == ROWS
    assert read_parts(out)[0].equals(read_parts(whole)[0])
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


def test_options_of_parts_need_a_folder(run, folder, tmp_path):
    code, _, said = run("predict", folder / "run-npy", folder / "rows.npy", "--part-rows", 500)
    assert (code, "--engine and --part-rows are for a folder" in said) == (2, True)
    code, _, said = run(
        "predict", folder / "run-npy", folder / "rows.npy", "--out", tmp_path / "x", "--engine", "spark"
    )
    assert (code, "--engine must be one of" in said) == (2, True), said


@pytest.mark.filterwarnings("ignore")
def test_ray_makes_the_same_parts_though_a_worker_is_killed(folder, tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    pytest.importorskip("ray.data")
    run, here, there = Run(folder / "run-npy"), tmp_path / "here", tmp_path / "there"
    predict_parts(run, str(folder / "rows.npy"), here, part_rows=256)
    local = {"worker_niceness": 0}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _system_config=local)
    killed = []

    def kill(what, share):
        if what == "assigning" and not killed:
            killed.append(worker_of(os.getpid()))
            os.kill(killed[0], signal.SIGKILL)

    try:
        predict_parts(run, str(folder / "rows.npy"), there, part_rows=256, engine="ray", workers=2, watch=kill)
    finally:
        ray.shutdown()
    assert killed
    ours, theirs = read_parts(here)[0], read_parts(there)[0]
    assert ours.column("row").equals(theirs.column("row"))
    assert ours.column("cluster").equals(theirs.column("cluster"))
    np.testing.assert_allclose(ours.column("probability"), theirs.column("probability"), atol=1e-6)


def worker_of(process):
    """A process of Ray that carries out our map."""
    for folder in os.listdir("/proc"):
        if folder.isdigit():
            try:
                with open(f"/proc/{folder}/cmdline", "rb") as file:
                    if b"ray::MapWorker" in file.read():
                        return int(folder)
            except OSError:
                continue
    raise DeepclustError("Ray has no worker of ours")
