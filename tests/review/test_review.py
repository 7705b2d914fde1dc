"""Finished runs, looked at again: other names, several runs side by side, a table for an explorer."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deepclust import load
from deepclust.metrics import cluster_stability, moves
from deepclust.runs import Run

QUICK = ["-p", "pretrain__epochs=2", "--epochs", "2", "-p", 'trainer__precision="fp32"', "--method", "dec", "--quiet"]


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(80, 4)) + np.repeat(np.eye(4) * 8, 20, axis=0)
    path = tmp_path / "people.csv"
    lines = [f"p{i}," + ",".join(f"{v:.3f}" for v in row) + f",{i // 20}" for i, row in enumerate(values)]
    path.write_text("name,a,b,c,d,group\n" + "\n".join(lines))
    return path


@pytest.fixture
def two(run, table, tmp_path):
    """Two runs on one table, of two seeds."""
    folders = []
    for seed in (0, 1):
        folders.append(tmp_path / f"run-{seed}")
        asked = ["fit", table, "-k", 4, "--id", "name", "--labels", "group", "--seed", seed, "--out", folders[-1]]
        assert run(*asked, *QUICK)[0] == 0
    return folders


def test_relabel_changes_model_assignments_measures_and_page(run, two, table, tmp_path):
    folder = two[0]
    before = pq.read_table(folder / "assignments.parquet")
    (tmp_path / "names.csv").write_text("cluster,name\n0,young\n1,old\n2,old\n")
    code, said, _ = run("relabel", folder, tmp_path / "names.csv", "--json")
    assert code == 0
    assert json.loads(said) == {"run": str(folder), "report_written": True}
    after = pq.read_table(folder / "assignments.parquet")
    assert after.column_names == ["row", "name", "cluster", "probability", "cluster_name"]
    assert after.column("name").equals(before.column("name")), "ids stay"
    old, new = (t.column("cluster").to_numpy() for t in (before, after))
    expected = np.where(old == 2, 1, old)
    assert (new == expected).mean() > 0.95
    assert set(new[new != expected].tolist()) <= {1}, "two joined may pass a third, and nothing else moves"
    assert set(after.column("cluster_name").to_pylist()) == {"young", "old", "3"}
    page = (folder / "report.html").read_text()
    assert page.count('<details class="card"') == 3
    assert ">old<" in page
    assert json.loads((folder / "metrics.json").read_text())["internal"]["n_clusters_used"] == 3
    assert run("predict", folder, table, "--out", tmp_path / "p.parquet", "--quiet")[0] == 0
    assert pq.read_table(tmp_path / "p.parquet").column("cluster_name").equals(after.column("cluster_name"))
    (tmp_path / "names.csv").write_text("cluster,name\n2,third\n")
    assert run("relabel", folder, tmp_path / "names.csv", "--quiet")[0] == 0
    apart = pq.read_table(folder / "assignments.parquet")
    assert apart.column("cluster").equals(before.column("cluster"))


def test_relabel_without_the_input_says_what_it_left(run, two, table, tmp_path):
    table.unlink()
    (tmp_path / "names.csv").write_text("cluster,name\n0,young\n")
    code, said, _ = run("relabel", two[0], tmp_path / "names.csv")
    assert code == 0
    assert "its input cannot be read as it was, so the page stays" in said
    assert "external" not in json.loads((two[0] / "metrics.json").read_text())
    (tmp_path / "names.csv").write_text("cluster,name\n9,young\n")
    code, _, error = run("relabel", two[0], tmp_path / "names.csv")
    assert code == 2
    assert "no cluster 9" in error
    assert Run(two[0]).load_model().naming_.names == ("young", "1", "2", "3")


def test_compare_tells_agreement_and_rows_that_move(run, two, tmp_path):
    page = tmp_path / "compare.html"
    code, said, _ = run("compare", *two, "--out", page)
    assert code == 0
    assert "agree on" in said
    text = page.read_text()
    assert "run-0" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    facts = json.loads(run("compare", *two, "--out", page, "--overwrite", "--json")[1])
    labels = [Run(folder).load_model().labels_ for folder in two]
    expected = float(np.mean(~moves(*labels).moved))
    assert facts["agreement"][0][1] == pytest.approx(expected)
    assert facts["moving"] == pytest.approx(1 - expected)
    assert run("compare", *two, "--out", page)[0] == 4, "an existing page stays"


def test_compare_says_why_rows_have_no_names(run, two, table, tmp_path):
    table.unlink()
    code, said, _ = run("compare", *two, "--out", tmp_path / "compare.html")
    assert code == 0
    assert "rows have numbers and no pictures: " in said
    assert "people.csv" in said
    assert "The input cannot be read as it was" in (tmp_path / "compare.html").read_text()


def test_runs_on_other_rows_are_not_compared(run, two, table, tmp_path):
    lines = table.read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join([*lines[:-1], lines[1]]))
    asked = ["fit", tmp_path / "other.csv", "-k", 4, "--id", "name", "--labels", "group", "--out", tmp_path / "other"]
    assert run(*asked, *QUICK)[0] == 0
    code, _, error = run("compare", two[0], tmp_path / "other", "--out", tmp_path / "c.html")
    assert code == 4
    assert "were not made on the same rows" in error
    assert not (tmp_path / "c.html").exists()
    code, _, error = run("compare", two[0], "--out", tmp_path / "c.html")
    assert code == 4
    assert "two runs at least" in error


def test_report_with_other_runs_tells_how_stable_clusters_are(run, two):
    assert run("report", two[0], "--with", two[1], "--quiet")[0] == 0
    page = (two[0] / "report.html").read_text()
    assert "Among other runs on the same rows (1)" in page
    assert page.count("Found again in other runs") == 4


def test_the_explorers_table_has_places_and_pictures(run, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"{i:02}.png")
    folder = tmp_path / "run"
    assert run("fit", tmp_path / "pictures", "-k", 2, "--out", folder, *QUICK)[0] == 0
    code, said, _ = run("explore", folder, "--table-only")
    assert code == 0
    assert said.startswith("table: ")
    table = pq.read_table(folder / "explore.parquet")
    assert table.column_names == ["row", "id", "x", "y", "cluster", "probability", "image"]
    picture = Image.open(io.BytesIO(table.column("image")[3].as_py()["bytes"]))
    assert picture.size == (7, 9)
    assert table.column("id")[3].as_py() == "03.png"
    monkeypatch.setattr("shutil.which", lambda *_args, **_kw: None)
    code, _, error = run("explore", folder)
    assert code == 1
    assert "pip install 'deepclust[explore]'" in error


def test_export_says_how_far_the_graph_is_from_the_model(run, two, tmp_path):
    pytest.importorskip("onnxscript")
    code, said, error = run("export", two[0], tmp_path / "model.onnx")
    assert code == 0
    assert error == "", "what exporters say about themselves is not for the user"
    assert "differ from PyTorch's by" in said
    assert run("export", two[0], tmp_path / "model.onnx")[0] == 4
    assert run("export", two[0], tmp_path / "model.zip")[0] == 0
    assert (load(tmp_path / "model.zip").labels_ == Run(two[0]).load_model().labels_).all()
    code, _, error = run("export", two[0], tmp_path / "model.txt")
    assert code == 2
    assert "must end in .onnx, .pt2 or .zip" in error


def test_stability_is_the_mean_best_overlap():
    labels = np.array([0, 0, 0, 1, 1, 1])
    other = np.array([5, 5, 5, 5, 7, 7])
    np.testing.assert_allclose(cluster_stability(labels, [labels, other], 3), [0.875, (1 + 2 / 3) / 2, np.nan])
    found = moves(labels, other)
    assert found.clusters.tolist() == [0, 0, 0, 0, 1, 1]
    assert found.moved.tolist() == [False, False, False, True, False, False]
    assert moves(labels, np.array([5, 5, 6, 7, 7, 7])).clusters.tolist() == [0, 0, -1, 1, 1, 1]
