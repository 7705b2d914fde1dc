"""Specs in, records out, tables from records; a kill at any moment loses and doubles nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.architecture.test_architecture import ROOT

from deepclust import MLP, VaDE
from deepclust.bench.generation import generation_metrics
from deepclust.bench.problems import PROBLEMS, TUNING, Problem
from deepclust.bench.run import Store, hash_of
from deepclust.bench.spec import Configuration, Task, known_methods, read_spec
from deepclust.bench.table import (
    Summary,
    as_html,
    as_markdown,
    as_overview,
    mark_by_specs,
    read_published,
    read_records,
    replace_between,
)
from deepclust.bench.task import carry_out, make_estimator, settings_of
from deepclust.data.rows import as_rows
from deepclust.engine import Schedule
from deepclust.errors import InvalidParameterError
from deepclust.methods import METHODS
from deepclust.provenance import fingerprint_rows

KEYS = {
    "method", "variant", "params", "config_hash", "dataset", "protocol", "fit_rows", "eval_rows", "seed", "metrics",
    "start", "seconds", "phases", "peak_mb", "device", "versions", "git", "dirty", "data_sha256",
}  # fmt: skip
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
KILLS = int(os.environ.get("DEEPCLUST_KILLS", "5"))  # make torture: 20
SPEC = """
[[run]]
name = "kmeans"
datasets = ["digits", "nested-c"]
seeds = 2

[[run]]
name = "kmeans-once"
method = "kmeans"
params = { n_init = 1 }
datasets = ["digits"]
seeds = 2

[[run]]
name = "vade-short"
method = "vade"
params = { pretrain__epochs = 4, schedule__epochs = 4, trainer__precision = "fp32", trainer__checkpoint_seconds = 0.1 }
datasets = ["nested-c"]
seeds = 1
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def bench(*arguments, cores=1, **options):
    """Start it on so many cores: sums round alike only where tasks have the same number of threads, here one."""
    limit = (lambda: os.sched_setaffinity(0, CORES[:cores])) if len(CORES) > 1 else None
    command = [sys.executable, "-m", "deepclust", "bench", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
        **options,
    )


def stripped(folder):
    """All records without times, memory, whether they were killed and the state of the checkout."""
    drop = {"seconds", "phases", "peak_mb", "git", "dirty", "resumed"}
    return {
        str(path.relative_to(folder)): {k: v for k, v in json.loads(path.read_text()).items() if k not in drop}
        for path in sorted(folder.glob("*/*/seed*.json"))
    }


def test_spec_lists_tasks_small_sets_and_first_seeds_first(spec):
    tasks = read_spec(spec)
    assert len(tasks) == 7
    assert [t.dataset for t in tasks] == ["digits"] * 4 + ["nested-c"] * 3
    assert {t.configuration.variant for t in tasks} == {"", "once", "short"}
    once = next(t for t in tasks if t.configuration.variant == "once")
    assert hash_of(once) != hash_of(next(t for t in tasks if t.configuration.name == "kmeans"))
    same = {hash_of(t) for t in tasks if t.configuration.name == "kmeans" and t.dataset == "digits"}
    assert len(same) == 1, "the seed is not a setting"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[run]\n", "not TOML"),
        ("", "names nothing to run"),
        ('[[run]]\nname = "x"\ndatasets = ["digits"]', "no method 'x'"),
        ('[[run]]\nname = "vade"\ndatasets = ["digit"]', "no data set 'digit'"),
        ('[[run]]\nname = "vade"\ndatasets = ["digits"]\nseed = 3', "unknown keys"),
    ],
)
def test_wrong_specs_are_refused(text, sentence, tmp_path):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(InvalidParameterError, match=sentence):
        read_spec(tmp_path / "s.toml")
    with pytest.raises(InvalidParameterError, match="cannot be read"):
        read_spec(tmp_path / "absent.toml")


def test_none_in_a_spec_is_none(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        '[[run]]\nname = "dec-plain"\nmethod = "dec"\nparams = { schedule__augment = "none" }\ndatasets = ["digits"]'
    )
    assert read_spec(path)[0].configuration.params == {"schedule__augment": None}


def test_committed_specs_can_be_read():
    for path in (ROOT / "benchmarks" / "quality").glob("*.toml"):
        if path.name != "published.toml":
            assert read_spec(path)


@pytest.mark.timeout(120 + 60 * KILLS)
def test_runs_that_are_killed_give_the_records_of_one_that_is_not(spec, tmp_path):
    whole = tmp_path / "whole"
    process = bench("run", spec, "--records", whole, "--work", tmp_path / "w1")
    _, said = process.communicate()
    assert process.returncode == 0, said
    records = stripped(whole)
    assert len(records) == 7
    content = json.loads((whole / "nested-c" / "vade-short" / "seed0.json").read_text())
    assert content.keys() >= {*KEYS, "resumed"}, "records made before it was kept lack the last"
    assert {"accuracy", "purity", "nmi", "nmi_geometric", "ari", "ami", "n_clusters_used"} <= content["metrics"].keys()
    assert content["start"]["accuracy"] > 0
    rng, broken = np.random.default_rng(0), tmp_path / "broken"
    for _ in range(KILLS):
        process = bench("run", spec, "--records", broken, "--work", tmp_path / "w2", start_new_session=True)
        time.sleep(float(rng.uniform(1.0, 9.0)))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert all(record == records[name] for name, record in stripped(broken).items())
    process = bench("run", spec, "--records", broken, "--work", tmp_path / "w2")
    assert process.wait() == 0
    process.communicate()
    assert stripped(broken) == records
    process = bench("status", spec, "--records", broken)
    assert process.communicate()[0].strip() == "7 of 7 records"
    process = bench("run", spec, "--records", tmp_path / "two", "--work", tmp_path / "w3", "--workers", 2, cores=2)
    assert process.wait() == 0
    process.communicate()
    assert stripped(tmp_path / "two") == records


PARENT = """
import multiprocessing, time
from deepclust.bench import task

def work():
    task.end_with_parent()
    time.sleep(300)

if __name__ == "__main__":
    process = multiprocessing.get_context("forkserver").Process(target=work)
    process.start()
    print(process.pid, flush=True)
    process.join()
"""


def test_a_task_ends_with_the_process_that_wants_its_record(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    time.sleep(0.5)
    parent.kill()
    parent.communicate()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    pytest.fail("the task goes on though nobody waits for it")


def test_methods_with_one_start_share_its_network(tmp_path):
    params = {"pretrain__epochs": 3, "schedule__epochs": 2, "trainer__precision": "fp32", "start": "kmeans"}
    vade = Task(Configuration("vade-short", "vade", params=params), "nested-c", 0)
    short = {"schedule__epochs": 3, "trainer__precision": "fp32"}
    plain = {**short, "schedule__decay": None}
    alone = carry_out(vade, tmp_path / "a")
    assert alone["pretrained"] is None
    tasks = [
        Task(Configuration(f"two_stage-{i}", "two_stage", params=p), "nested-c", 0)
        for i, p in enumerate((short, plain))
    ]
    first, other = (carry_out(task, tmp_path / f"b{i}", tmp_path / "networks") for i, task in enumerate(tasks))
    assert first["pretrained"] is None
    assert other["pretrained"] is None, "another schedule is another network"
    shared = carry_out(vade, tmp_path / "c", tmp_path / "networks")
    assert shared["pretrained"] in {path.stem for path in (tmp_path / "networks").iterdir()}
    assert shared["metrics"] == alone["metrics"]
    assert shared["start"] == alone["start"]
    assert shared["phases"].keys() == alone["phases"].keys()
    elsewhere = carry_out(Task(vade.configuration, "nested-c", 1), tmp_path / "d", tmp_path / "networks")
    assert elsewhere["pretrained"] is None, "another seed is another network"
    again = carry_out(vade, tmp_path / "a")
    assert (alone["resumed"], again["resumed"]) == (False, True)
    assert again["metrics"] == alone["metrics"]


def record(tmp_path, seed=0, **params):
    task = Task(Configuration("kmeans", "kmeans", params=params), "nested-c", seed)
    return task, {**carry_out(task, tmp_path), "git": None, "dirty": None}


def test_new_settings_replace_a_set_as_a_whole(tmp_path):
    store = Store(tmp_path / "records")
    for seed in range(3):
        store.write(*record(tmp_path, seed))
    assert len(list(store.folder.glob("*/*/seed*.json"))) == 3
    for seed in range(2):
        task, fresh = record(tmp_path, seed, n_init=1)
        assert store.read(task) is None, "a record of other settings is no record of this task"
        store.write(task, fresh, seeds=2)
        assert store.read(task) == fresh
        (summary,) = read_records(store.folder)
        assert len(summary.records) == (3 if seed == 0 else 2), "the former set stays until the new one is whole"
    assert {r["config_hash"] for r in summary.records} == {fresh["config_hash"]}
    assert [path.name for path in (store.folder / "nested-c").iterdir()] == ["kmeans"]


def test_a_set_of_few_seeds_gives_way_to_as_many(tmp_path):
    store = Store(tmp_path / "records")
    store.write(*record(tmp_path, 0))
    for seed in range(2):
        task, fresh = record(tmp_path, seed, n_init=1)
        store.write(task, fresh, seeds=5)
        (summary,) = read_records(store.folder)
        assert [r["config_hash"] for r in summary.records] == [fresh["config_hash"]] * (seed + 1)
    assert [path.name for path in (store.folder / "nested-c").iterdir()] == ["kmeans"]


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_swap_that_was_killed_is_finished(moment, tmp_path):
    store = Store(tmp_path / "records")
    store.write(*record(tmp_path, 0))
    task, fresh = record(tmp_path, 0, n_init=1)
    home = store.path(task).parent
    staged, former = home.with_name(".staged-kmeans"), home.with_name(".former-kmeans")
    staged.mkdir()
    (staged / "seed0.json").write_text(json.dumps(fresh))
    if moment != "before":
        home.rename(former)
    if moment == "after":
        staged.rename(home)
    assert store.read(task) == fresh
    store.write(task, fresh)
    assert json.loads(store.path(task).read_text()) == fresh
    assert [path.name for path in home.parent.iterdir()] == ["kmeans"]


def test_log_keeps_every_configuration_that_a_set_has_seen(tmp_path):
    store = Store(tmp_path)
    for params in ({}, {}, {"n_init": 1}):
        store.log_seen(Task(Configuration("kmeans", "kmeans", params=params), "usps", 0))
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen["usps"]["kmeans"]) == 2


def test_tables_hold_means_over_seeds_and_published_numbers(tmp_path):
    store = Store(tmp_path / "records")
    records = [record(tmp_path, seed) for seed in range(2)]
    for value, (task, content) in zip((0.5, 0.7), records, strict=True):
        content["metrics"]["accuracy"] = value
        store.write(task, content)
    published = [
        {"dataset": "nested-c", "method": "M", "accuracy": 0.9, "protocol": "p", "source": "s", "sure": "read"}
    ]
    text = as_markdown(read_records(store.folder), published)
    assert "0.600 ± 0.141 | 0.100" in text
    assert "0.600 ± 0.141" in as_html(read_records(store.folder), published)
    assert "| `kmeans` | 0.600 ± 0.141 (2) |" in as_overview(read_records(store.folder))
    assert "| M | 0.900 |  | p | s | read |" in text
    assert "†" not in text
    assert "‡" not in text
    task, content = records[1]
    store.write(task, {**content, "events": [{"kind": "time limit"}]})
    assert "0.600 ± 0.141†" in as_markdown(read_records(store.folder), published)
    assert "0.600 ± 0.141† (2)" in as_overview(read_records(store.folder))
    store.write(task, {**content, "seconds": 3.0, "device": {**content["device"], "device": "cuda"}})
    assert re.search(r"\| 2 \| \d+‡ \|", as_markdown(read_records(store.folder), published))
    (store.folder / "nested-c" / "kmeans" / "seed0.json").unlink()
    with pytest.raises(ValueError, match=r"must hold seeds 0\.\.n-1"):
        read_records(store.folder)


def test_records_of_settings_that_have_changed_since_are_marked(tmp_path):
    store, specs = Store(tmp_path / "records"), tmp_path / "specs"
    specs.mkdir()
    spec = specs / "some.toml"
    text = '[[run]]\nname = "kmeans"\ndatasets = ["nested-c"]\nparams = {{ n_init = {} }}\n'
    text += '[[run]]\nname = "vade"\ndatasets = ["nested-c"]\nparams = {{ n_init = {} }}\n'
    (specs / "published.toml").write_text("[[published]]\n")
    spec.write_text(text.format(3, 1))
    for task in read_spec(spec):
        if task.seed == 0:
            settings = json.loads(json.dumps(settings_of(make_estimator(task, 2)), default=str))
            store.write(task, {"seed": 0, "params": settings, "config_hash": hash_of(task)})

    def former():
        return [s.name for s in mark_by_specs(read_records(store.folder), specs) if s.is_former]

    assert former() == []
    spec.write_text(text.format(4, 1))
    assert former() == ["kmeans"]
    spec.write_text(text.format(3, 2))
    assert former() == ["vade"]
    spec.write_text(text.format(3, 1).replace("kmeans", "gmm"))
    assert former() == [], "nothing is known of what no spec names"
    _, content = record(tmp_path, 0)
    marked = [Summary("nested-c", "kmeans", [content], is_former=True)]
    accuracy = f"{content['metrics']['accuracy']:.3f}"
    assert f"| {accuracy}§ |" in as_markdown(marked, [])
    assert f"<td>{accuracy}§</td>" in as_html(marked, [])
    assert f"| {accuracy}§ (1) |" in as_overview(marked)


def test_overview_leaves_out_what_the_specs_say(tmp_path):
    store, specs = Store(tmp_path / "records"), tmp_path / "specs"
    specs.mkdir()
    text = '[[run]]\nname = "kmeans"\ndatasets = ["nested-c"]\n[[run]]\nname = "gmm"\ndatasets = ["nested-c"]\n'
    (specs / "some.toml").write_text(text + "overview = false\n")
    for task in read_spec(specs / "some.toml"):
        if task.seed == 0:
            store.write(task, record(tmp_path, 0)[1])
    marked = mark_by_specs(read_records(store.folder), specs)
    assert "`kmeans`" in as_overview(marked)
    assert "`gmm`" not in as_overview(marked)
    assert "`gmm`" in as_markdown(marked, [])


def test_text_between_marks_is_replaced():
    assert replace_between("a <!-- t -->old<!-- /t --> b", "t", "new") == "a <!-- t -->\n\nnew\n\n<!-- /t --> b"
    with pytest.raises(ValueError, match="lacks"):
        replace_between("a", "t", "new")


def test_committed_table_is_what_the_records_give():
    process = subprocess.run(
        [sys.executable, "-m", "deepclust", "bench", "table", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr


def test_committed_records_are_whole_sets():
    for summary in read_records(ROOT / "benchmarks" / "quality" / "records"):
        for content in summary.records:
            assert content.keys() >= KEYS, f"{summary.dataset}/{summary.name}"
            assert content["dataset"] == summary.dataset
    assert read_published(ROOT / "benchmarks" / "quality" / "published.toml")


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if entry.kind == "baseline"])
def test_labels_never_reach_a_baseline(name):
    data = load_digits()
    X, y = data.images[:300], data.target[:300]
    entry = METHODS[name]
    short = {"schedule": Schedule(epochs=3)} if name == "n2d" else {}

    def labels(*given):
        return entry.load()(10, random_state=0, **{**entry.params, **short}).fit_predict(X, *given)

    expected = labels()
    assert (labels(y) == expected).all()
    assert (labels(np.random.default_rng(0).permutation(y)) == expected).all()
    assert len(set(expected) - {-1}) == 10 or name == "umap-hdbscan"


@pytest.mark.parametrize("name", ["two-moons", "nested-c"])
def test_shapes_are_as_described(name):
    X, y = PROBLEMS[name].load()
    assert X.shape == ({"two-moons": 7000, "nested-c": 1500}[name], 2)
    assert np.bincount(y).tolist() == [len(y) // 2] * 2
    again, _ = PROBLEMS[name].load()
    assert (again == X).all()
    assert set(TUNING) <= set(PROBLEMS)


def test_other_packages_add_methods_to_compare_with(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "peers")
    import deepclust_peers

    class Point:
        def load(self):
            return deepclust_peers.ENTRIES

    monkeypatch.setattr("deepclust.bench.spec.entry_points", lambda group: [Point()])
    known_methods.cache_clear()
    try:
        tasks = read_spec(ROOT / "benchmarks" / "peers" / "peers.toml")
        assert {task.configuration.method for task in tasks} == {entry.name for entry in deepclust_peers.ENTRIES}
        task = Task(Configuration("sklearn-kmeans", "sklearn-kmeans"), "nested-c", 0)
        record = carry_out(task, tmp_path)
        assert record["method"] == "sklearn-kmeans"
        assert 0.5 <= record["metrics"]["accuracy"] <= 1
    finally:
        known_methods.cache_clear()


def test_train_test_protocol_measures_rows_that_were_not_fitted(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(3), 2000)
    X = np.clip(64 * y[:, None, None] + rng.normal(0, 12, (6000, 4, 4)) + 30, 0, 255).astype(np.uint8)
    problem = Problem(lambda: (X, y), 3, train_rows=5400)
    monkeypatch.setitem(PROBLEMS, "mnist", problem)
    params = {"pretrain__epochs": 3, "schedule__epochs": 3, "trainer__precision": "fp32"}
    task = Task(Configuration("vade-split", "vade", params=params, protocol="train-test"), "mnist", 0)
    record = carry_out(task, tmp_path / "work")
    assert (record["fit_rows"], record["eval_rows"]) == (5400, 600)
    assert record["protocol"] == "train-test"
    found = record["metrics"]
    assert found["held_out_accuracy"] <= found["accuracy"]
    assert found["aae_accuracy"] <= found["purity"]
    assert {"self_consistency", "filter_acceptance"} <= found.keys()
    assert record["start"]["accuracy"] > 0.3


def test_pretrained_protocol_clusters_rows_that_networks_did_not_begin_with(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (5300, 4, 4), dtype=np.uint8)  # samples are judged by other digits
    monkeypatch.setitem(PROBLEMS, "mnist", Problem(lambda: (X, np.arange(5300) % 3), 3))
    problem = Problem(lambda: (X[:300], np.arange(300) % 3), 3, others=lambda: X[300:])
    monkeypatch.setitem(PROBLEMS, "mnist-test", problem)
    params = {"pretrain__epochs": 1, "schedule__epochs": 1, "trainer__precision": "fp32"}
    task = Task(Configuration("dec-first", "dec", params=params, protocol="pretrained"), "mnist-test", 0)
    record = carry_out(task, tmp_path / "work")
    assert (record["fit_rows"], record["eval_rows"], record["protocol"]) == (300, 300, "pretrained")
    assert record["pretrain_data_sha256"] == fingerprint_rows(as_rows(X[300:]))


def test_split_needs_a_published_split(tmp_path):
    (tmp_path / "s.toml").write_text('[[run]]\nname = "vade"\ndatasets = ["digits"]\nprotocol = "train-test"')
    with pytest.raises(InvalidParameterError, match="digits has no published split"):
        read_spec(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_text('[[run]]\nname = "vade"\ndatasets = ["mnist"]\nprotocol = "pretrained"')
    with pytest.raises(InvalidParameterError, match="mnist has no training rows of its own"):
        read_spec(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_text('[[run]]\nname = "kmeans"\ndatasets = ["mnist-test"]\nprotocol = "pretrained"')
    with pytest.raises(InvalidParameterError, match="kmeans has no networks to pretrain"):
        read_spec(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_text('[[run]]\nname = "vade"\ndatasets = ["mnist"]\nprotocol = "half"')
    with pytest.raises(InvalidParameterError, match="protocol must be one of"):
        read_spec(tmp_path / "s.toml")


def test_judge_sees_what_clusters_are_of(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 3000)
    X = (rng.normal(size=(6000, 8)) * 0.3 + np.where(y == 0, -2.0, 2.0)[:, None]).astype(np.float32)
    model = VaDE(2, network=MLP(hidden=(16,), latent=2), random_state=0, pretrain=Schedule(epochs=4))
    model.set_params(schedule__epochs=4, trainer__precision="fp32").fit(X)
    found = generation_metrics(model, X, y, model.labels_)
    assert found["judge_accuracy"] > 0.99
    assert found["judged_agreement"] > 0.95
    wrong = generation_metrics(model, X, y, 1 - model.labels_)
    assert wrong["judged_agreement"] < 0.05
