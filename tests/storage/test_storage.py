"""Saved models: every format that was ever written loads, and what is not whole is refused by name."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from deepclust import load
from deepclust.data.rows import Spec
from deepclust.errors import InvalidParameterError, ModelFormatError
from deepclust.networks import Narrow, Normed, Pooled
from deepclust.storage import migrations
from deepclust.storage.migrations import VERSION, Migration
from deepclust.storage.seal import sealed
from tests.storage.make_formats import HOME, images, rows

FIXTURES = sorted(HOME.glob("*/*/model.json"))


def test_there_is_a_fixture_of_every_version():
    assert {int(path.parts[-3].removeprefix("v")) for path in FIXTURES} == set(range(1, VERSION + 1))


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: "/".join(file.parts[-3:-1]))
def test_every_format_ever_written_loads_to_the_same_answers(file):
    model = load(file.parent)
    told = json.loads((file.parents[1] / f"{file.parent.name}.json").read_text())
    X = images() if len(model.layout_.shape) > 1 else rows()
    np.testing.assert_allclose(model.predict_proba(X), told["proba"], atol=1e-4)
    assert model.predict(X).tolist() == told["labels"]
    assert model.naming_.names == ("left", "1")


@pytest.mark.parametrize("builder", [Pooled(), Normed(), Narrow()], ids=lambda builder: type(builder).__name__)
def test_biases_before_normalisation_are_taken_off_its_mean(builder):
    network = builder.build(Spec((1, 28, 28), 10))
    present = network.state_dict()
    norms = [name for name in present if name.endswith("running_mean")]
    assert norms
    old = dict(present)
    for number, mean in enumerate(norms, start=1):
        place, layer, _ = mean.rsplit(".", 2)
        bias = torch.full_like(present[mean], float(number))
        old |= {f"{place}.{int(layer) - 1}.bias": bias, mean: present[mean] + bias}
    migrated = migrations.MIGRATIONS[2].weights(old, present.keys())
    assert migrated.keys() == present.keys()
    assert all(torch.equal(migrated[name], present[name]) for name in present)
    assert migrations.MIGRATIONS[2].weights(old, old.keys()) == old, "modules of the user's own keep theirs"


@pytest.fixture
def folder(tmp_path):
    """A copy of a saved model of the present format."""
    shutil.copytree(HOME / f"v{VERSION}" / "vade", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def archive(folder):
    return load(folder).save(folder.with_suffix(".zip"))


def test_one_file_holds_what_the_folder_does(folder, archive):
    from_folder, from_file = load(folder), load(archive)
    assert (from_folder.predict_proba(rows()) == from_file.predict_proba(rows())).all()
    assert from_file.get_params(deep=False) == from_folder.get_params(deep=False)
    assert from_file.naming_ == from_folder.naming_
    again = load(archive).save(folder.parent / "again.zip")
    assert again.read_bytes() == archive.read_bytes(), "equal models make equal files"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["again.zip", "model", "model.zip"]


def test_a_name_that_looks_like_a_blank_seal_does_no_harm(folder):
    model = load(folder).relabel({0: "0" * 64})
    model.save(folder, overwrite=True)
    assert load(folder).naming_.names == ("0" * 64, "1")


def test_large_models_fit_into_one_file(folder, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)  # stands for two gigabytes
    model = load(folder)
    again = load(model.save(folder.parent / "large.zip"))
    assert (again.predict_proba(rows()) == model.predict_proba(rows())).all()


def test_what_is_not_a_model_is_not_overwritten(folder, archive, tmp_path):
    model = load(folder)
    with pytest.raises(ModelFormatError, match="exists"):
        model.save(archive)
    model.save(archive, overwrite=True)
    (tmp_path / "thesis.zip").write_bytes(b"my thesis")
    (tmp_path / "thesis").mkdir()
    for other in ("thesis.zip", "thesis"):
        with pytest.raises(ModelFormatError, match="not a saved model, so it is not overwritten"):
            model.save(tmp_path / other, overwrite=True)
    assert (tmp_path / "thesis.zip").read_bytes() == b"my thesis"
    archive.rename(tmp_path / "plain")
    with pytest.raises(ModelFormatError, match="is a file, so it stays"):
        model.save(tmp_path / "plain", overwrite=True)


def test_a_single_changed_byte_of_any_file_is_noticed(folder):
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        for place in np.linspace(0, len(content) - 1, 40).astype(int):
            changed = bytearray(content)
            changed[place] ^= 0x01
            file.write_bytes(bytes(changed))
            with pytest.raises(ModelFormatError, match=r"model"):
                load(folder)
        file.write_bytes(content)
    load(folder)


def test_versions_before_are_brought_up_and_later_ones_refused(folder, monkeypatch):
    manifest = json.loads((folder / "model.json").read_text())
    manifest.pop("seal")
    for version in (VERSION + 1, 0, -1, "2", None, True, 1.5):
        (folder / "model.json").write_bytes(sealed({**manifest, "version": version}))
        with pytest.raises(ModelFormatError, match=r"has format version .*Upgrade deepclust"):
            load(folder)
    # A change of a future version: a parameter and a tensor get other names.
    manifest["parameters"]["k"] = manifest["parameters"].pop("n_clusters")
    (folder / "model.json").write_bytes(sealed(manifest))
    with pytest.raises(ModelFormatError, match="does not hold a whole model"):
        load(folder)

    def renamed(old):
        parameters = dict(old["parameters"])
        parameters["n_clusters"] = parameters.pop("k")
        return {**old, "parameters": parameters}

    seen = []
    monkeypatch.setattr(migrations, "VERSION", VERSION + 1)
    monkeypatch.setitem(migrations.MIGRATIONS, VERSION, Migration(renamed, lambda w, _: seen.append(len(w)) or w))
    assert load(folder).n_clusters == 2
    assert seen[0] > 0


def rewritten(folder, change):
    """A manifest changed by someone who can seal it again."""
    manifest = json.loads((folder / "model.json").read_text())
    manifest.pop("seal")
    change(manifest)
    (folder / "model.json").write_bytes(sealed(manifest))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update({"class": "os.system"}), "a method that this version lacks"),
        (lambda m: m.update({"class": ["VaDE"]}), "a method that this version lacks"),
        (lambda m: m["parameters"].update(n_clusters=10**9), "do not go together"),
        (lambda m: m["parameters"].update(n_clusters="2"), "must be an int"),
        (lambda m: m["parameters"]["network"].update(hidden=[4] * 10**6), "longer or deeper"),
        (lambda m: m["parameters"]["network"].update({"$type": "Path"}), "which this version lacks"),
        (lambda m: m["parameters"]["network"].update(latent=10**9), "size mismatch|does not hold"),
        (lambda m: m["layout"].update(shape=[10**9, 10**9]), "layout and spec do not agree"),
        (lambda m: m["spec"].update(shape=[0]), "not the shape of a row"),
        (lambda m: m["spec"].update(shape=[10**40]), "not the shape of a row"),
        (lambda m: m.update(sha256={"../weights.safetensors": "0"}), "sha256 is incomplete"),
        (lambda m: m.update(cluster_names=["a"] * 10**5), "cluster"),
        (lambda m: m.pop("layout"), "layout is incomplete"),
        (lambda m: m.update(sha256=[]), "sha256 is incomplete"),
    ],
)
def test_a_manifest_that_promises_too_much_is_refused(change, sentence, folder):
    rewritten(folder, change)
    with pytest.raises((ModelFormatError, InvalidParameterError), match=sentence):
        load(folder)


def test_nesting_without_end_is_refused(folder):
    (folder / "model.json").write_text("[" * 100_000)
    with pytest.raises(ModelFormatError, match="it is not JSON"):
        load(folder)
    text = (folder / "model.json").write_text
    text('{"format": "deepclust-model", "version": 1, "parameters": ' + '{"a": ' * 900 + "1" + "}" * 901)
    with pytest.raises(ModelFormatError):
        load(folder)


def test_a_pickle_by_the_name_of_weights_is_refused_unread(folder):
    import pickle

    class Trap:
        def __reduce__(self):
            return (Path.touch, (folder.parent / "sprung",))

    trap = pickle.dumps(Trap())
    (folder / "weights.safetensors").write_bytes(trap)
    with pytest.raises(ModelFormatError, match="checksum"):
        load(folder)
    rewritten(folder, lambda m: m["sha256"].update({"weights.safetensors": hashlib.sha256(trap).hexdigest()}))
    with pytest.raises(ModelFormatError, match="not a safetensors file"):
        load(folder)
    assert not (folder.parent / "sprung").exists()


def members(archive):
    with zipfile.ZipFile(archive) as source:
        return {name: source.read(name) for name in source.namelist()}


def written(archive, files, **options):
    with zipfile.ZipFile(archive, "w", **options) as out:
        for name, content in files:
            out.writestr(name, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_not_as_we_write_them_are_refused(archive, tmp_path):
    whole = members(archive)
    outside = [*whole.items(), ("../../escaped", b"x")]
    written(archive, outside)
    with pytest.raises(ModelFormatError, match="escaped"):
        load(archive)
    written(archive, [*whole.items(), ("model.json", whole["model.json"])])
    with pytest.raises(ModelFormatError, match="once each"):
        load(archive)
    written(archive, [*whole.items()], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelFormatError, match="is compressed"):
        load(archive)
    bomb = [
        ("model.json", whole["model.json"]),
        ("weights.safetensors", bytes(50_000_000)),
        ("result.safetensors", b""),
    ]
    written(archive, bomb, compression=zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < 100_000
    with pytest.raises(ModelFormatError, match="is compressed"):
        load(archive)
    written(archive, [(name, content) for name, content in whole.items() if name != "result.safetensors"])
    with pytest.raises(ModelFormatError, match=r"result\.safetensors is missing"):
        load(archive)
    archive.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ModelFormatError, match="no zip file"):
        load(archive)
    assert [path.name for path in tmp_path.parent.glob("escaped")] == []
    with pytest.raises(ModelFormatError, match="no such folder or file"):
        load(tmp_path / "absent.zip")
