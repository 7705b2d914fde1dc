"""The command line, in-process: what it writes, what it says, how it ends."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deepclust.runs import Run

QUICK = ["-p", "pretrain__epochs=2", "--epochs", "2", "-p", 'trainer__precision="fp32"']


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "people.csv"
    lines = [
        f"p{i},{a:.3f},{b:.3f},{g}"
        for i, (a, b, g) in enumerate(zip(*rng.normal(size=(2, 60)), "xy" * 30, strict=True))
    ]
    path.write_text("name,a,b,group\n" + "\n".join(lines))
    return path


def test_fit_writes_a_whole_run_folder(run, table, tmp_path):
    out = tmp_path / "run"
    code, said, _ = run("fit", table, "-k", 3, "--id", "name", "--labels", "group", "--out", out, *QUICK)
    assert code == 0
    assert str(out / "report.html") in said
    names = {path.name for path in out.iterdir()}
    assert names == {
        "run.json", "model", "assignments.parquet", "embedding.npy", "history.json", "metrics.json",
        "provenance.json", "report.html", "table.json",
    }  # fmt: skip
    assignments = pq.read_table(out / "assignments.parquet")
    assert assignments.column_names == ["row", "name", "cluster", "probability"]
    assert assignments.column("name")[5].as_py() == "p5"
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"accuracy", "purity", "nmi", "ari"} <= metrics["external"].keys()
    assert "n_clusters_used" in metrics["internal"]
    assert "start" in metrics
    provenance = json.loads((out / "provenance.json").read_text())
    assert {"parameters", "seed", "versions", "machine", "data_sha256", "seconds"} <= provenance.keys()
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_predict_reads_new_rows_as_the_run_did(run, table, tmp_path):
    out = tmp_path / "run"
    run("fit", table, "-k", 3, "--id", "name", "--labels", "group", "--out", out, *QUICK)
    code, said, _ = run("predict", out, table, "--json")
    assert code == 0
    target = json.loads(said)["out"]
    before, after = pq.read_table(out / "assignments.parquet"), pq.read_table(target)
    assert before.column("cluster").equals(after.column("cluster"))
    assert run("predict", out, table)[0] == 4, "an existing file is not replaced unasked"
    assert run("predict", out, table, "--out", tmp_path / "p.csv")[0] == 0
    assert (tmp_path / "p.csv").read_text().startswith('"row","name","cluster","probability"')


def test_finished_run_resumes_at_once_and_existing_runs_are_kept(run, table, tmp_path):
    out = tmp_path / "run"
    arguments = ["fit", table, "-k", 2, "--id", "name", "--labels", "group", "--out", out, *QUICK]
    assert run(*arguments)[0] == 0
    before = (out / "model" / "weights.safetensors").stat().st_mtime_ns
    code, said, _ = run("fit", "--resume", out, "--json")
    assert code == 0
    assert json.loads(said)["run"] == str(out)
    assert (out / "model" / "weights.safetensors").stat().st_mtime_ns == before
    code, _, error = run(*arguments)
    assert code == 4
    assert "exists" in error
    assert run(*arguments, "--overwrite")[0] == 0
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    code, _, error = run("fit", table, "--out", tmp_path / "precious", "--overwrite", *QUICK)
    assert code == 4
    assert (tmp_path / "precious" / "file").read_text() == "keep"


def test_a_network_may_learn_from_more_rows_than_are_clustered(run, table, tmp_path):
    more = tmp_path / "more.csv"
    more.write_text("b,a\n" + "\n".join(f"{b:.3f},{a:.3f}" for a, b in np.random.default_rng(1).normal(size=(90, 2))))
    options = ["-k", 3, "--id", "name", "--labels", "group", *QUICK]
    code, _, said = run("fit", table, *options, "--pretrain-on", more, "--out", tmp_path / "run")
    assert code == 0, said
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["pretrain_on"] == str(more)
    assert provenance["pretrain_data_sha256"] not in (None, provenance["data_sha256"])
    assert provenance["rows"] == 60
    more.write_text("a\n1\n2\n")
    code, _, said = run("fit", table, *options, "--pretrain-on", more, "--out", tmp_path / "other")
    assert code == 3
    assert "lacks 1 column" in said
    assert not (tmp_path / "other").exists()
    code, _, said = run("fit", table, *options, "--pretrain-on", tmp_path / "none", "--out", tmp_path / "other")
    assert code == 3
    assert not (tmp_path / "other").exists()


def test_images_to_learn_from_are_made_as_large_as_those_to_cluster(run, tmp_path):
    rng = np.random.default_rng(0)
    for folder, size, mode in (("few", 8, "L"), ("more", 11, "RGB")):
        (tmp_path / folder).mkdir()
        for number in range(24):
            pixels = rng.integers(0, 255, (size, size) if mode == "L" else (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    arguments = [
        "fit",
        tmp_path / "few",
        "-k",
        2,
        "--pretrain-on",
        tmp_path / "more",
        "--out",
        tmp_path / "run",
        *QUICK,
    ]
    (tmp_path / "more" / "bad.png").write_bytes(b"no picture")
    assert run(*arguments)[0] == 3
    code, _, said = run(*arguments, "--skip-bad")
    assert code == 0, said
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert any("bad.png" in note and "to learn from" in note for note in provenance["notes"])
    assert (provenance["shape"], provenance["rows"]) == ([8, 8], 24)


def test_folder_of_images_from_fit_to_samples(run, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    (folder / "broken.png").write_bytes(b"no")
    out = tmp_path / "run"
    code, _, error = run("fit", folder, "-k", 2, "--out", out, *QUICK)
    assert code == 3
    assert "broken.png" in error
    assert not out.exists(), "a run that never began leaves nothing"
    assert run("fit", folder, "-k", 2, "--out", out, "--skip-bad", *QUICK)[0] == 0
    assert pq.read_table(out / "assignments.parquet").column_names == ["row", "path", "cluster", "probability"]
    assert "broken.png" in (out / "report.html").read_text()
    sheet = tmp_path / "grid.png"
    assert run("sample", out, "--cluster", 1, "-n", 9, "--out", sheet)[0] == 0
    with Image.open(sheet) as image:
        assert image.mode == "RGBA"
    assert run("sample", out, "--cluster", 7, "--out", tmp_path / "x.png")[0] == 2
    filtered = tmp_path / "filtered.npy"
    options = ("--cluster", 1, "-n", 4, "--threshold", 0.01, "--temperature", 0.5, "--json")
    code, said, _ = run("sample", out, *options, "--out", filtered)
    assert code == 0
    assert json.loads(said)["acceptance"]["1"] > 0
    assert len(np.load(filtered)) == 4
    for name in ("members.png", "samples.png"):
        with Image.open(out / name) as picture:
            assert picture.mode == "RGB"
            assert picture.width > 200
    assert run("predict", out, folder, "--skip-bad")[0] == 0


def test_samples_of_tables_are_tables(run, table, tmp_path):
    out = tmp_path / "run"
    run("fit", table, "-k", 2, "--id", "name", "--labels", "group", "--out", out, *QUICK)
    assert run("sample", out, "-n", 5, "--out", tmp_path / "s.csv")[0] == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 6
    code, _, error = run("sample", out, "-n", 5, "--out", tmp_path / "s.png")
    assert code == 2
    assert "not images" in error


def test_quiet_says_nothing_and_json_says_one_object(run, table, tmp_path):
    options = ["-k", 2, "--id", "name", "--labels", "group", *QUICK]
    assert run("fit", table, "--out", tmp_path / "a", "--quiet", *options) == (0, "", "")
    code, said, error = run("fit", table, "--out", tmp_path / "b", "--json", *options)
    assert code == 0
    assert error == ""
    assert json.loads(said)["metrics"]["internal"]["n_clusters_used"] >= 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["fit"], 2, "INPUT is missing"),
        (["fit", "absent.csv"], 3, "neither a file, nor a folder, nor a data set"),
        (["fit", "digits", "-k", "0"], 2, "'n_clusters' parameter of VaDE must be an int >= 1"),
        (["fit", "digits", "--method", "magic"], 2, "The method 'magic' does not exist"),
        (["fit", "digits", "--method", "kmeans"], 2, "'kmeans' is a baseline"),
        (["fit", "digits", "-p", "nonsense=1"], 2, "Invalid parameter 'nonsense'"),
        (["fit", "digits", "-p", "nonsense"], 2, "NAME=VALUE"),
        (["fit", "digits", "--device", "tpu"], 2, "--device must be one of"),
        (["fit", "digits", "--image-size", "big"], 2, "--image-size must be"),
        (["fit", "digits", "--epochs", "-3"], 2, "'epochs' parameter of Schedule"),
        (["fit", "digits", "-k", "5000", "--out", "r"], 3, "1797 rows"),
        (["fit", "digits", "--resume", "r"], 2, "takes no INPUT"),
        (["fit", "--resume", "absent"], 4, "not a run folder"),
        (["predict", "absent", "digits"], 4, "not a run folder"),
        (["sample", "absent"], 4, "not a run folder"),
    ],
)
def test_mistakes_end_in_one_sentence_and_a_code(arguments, code, sentence, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, said, error = run(*arguments)
    assert found == code
    assert sentence in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert said == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", ["weights.safetensors", "result.safetensors", "model.json"])
def test_corrupted_model_folder_is_refused(spoil, run, table, tmp_path):
    out = tmp_path / "run"
    run("fit", table, "-k", 2, "--id", "name", "--labels", "group", "--out", out, *QUICK)
    file = out / "model" / spoil
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    code, _, error = run("predict", out, table)
    assert code == 4
    assert spoil in error or "corrupted" in error
    file.unlink()
    assert run("predict", out, table)[0] == 4


def test_lists(run):
    code, said, _ = run("methods")
    assert code == 0
    assert "vade" in said
    assert json.loads(run("datasets", "--json")[1])["digits"]


def test_run_knows_what_was_asked(run, table, tmp_path):
    out = tmp_path / "run"
    run("fit", table, "-k", 2, "--id", "name", "--labels", "group", "--seed", 7, "--out", out, *QUICK)
    request = Run(out).request
    assert (request.n_clusters, request.seed, request.epochs) == (2, 7, 2)
    assert request.read.id_column == "name"


def test_report_is_written_anew_in_either_language(run, table, tmp_path):
    out, page = tmp_path / "run", tmp_path / "page.html"
    assert run("fit", table, "-k", 3, "--id", "name", "--labels", "group", "--out", out, *QUICK)[0] == 0
    first = (out / "report.html").read_text()
    assert '<html lang="en">' in first
    assert run("report", out, "--lang", "zh")[0] == 0
    assert '<html lang="zh">' in (out / "report.html").read_text()
    assert json.loads(run("report", out, "--out", page, "--json")[1]) == {"report": str(page)}
    assert page.read_text() == first
    code, _, error = run("report", out, "--lang", "fr")
    assert code == 2
    assert "--lang must be one of en, zh" in error
    table.write_text("\n".join(table.read_text().splitlines()[:40]))
    code, _, error = run("report", out)
    assert code == 4
    assert "has 39 rows and had 60" in error
