"""Rules of the house that a machine can check."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest

import deepclust
from deepclust.methods import DEEP

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "deepclust"


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_loads_no_torch():
    heavy = ("torch", "sklearn", "scipy", "pyarrow", "numpy")
    assert python(f"import sys, deepclust; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


def test_only_the_session_calls_backward():
    calls = {path.name for path in SOURCE.rglob("*.py") if re.search(r"(?<!def )\bbackward\(", path.read_text())}
    assert calls == {"session.py"}


def test_every_public_name_can_be_imported():
    for name in deepclust.__all__:
        assert getattr(deepclust, name) is not None
    assert set(deepclust.__all__) == set(deepclust._HOME)
    with pytest.raises(AttributeError):
        deepclust.nonsense  # noqa: B018


def test_core_install_needs_no_torchvision_and_no_compiler():
    core = [r for r in requires("deepclust") if "extra ==" not in r]
    names = {re.match(r"[\w-]+", r).group() for r in core}
    assert "torchvision" not in names
    assert len(names) <= 15
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert not project["project"].get("ext-modules")


def test_files_and_estimators_keep_their_size():
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
    for entry in DEEP.values():
        assert len(entry.load()().get_params(deep=False)) <= 13, entry.name


def test_every_method_documents_its_algorithm_symbols_and_deviations():
    for entry in DEEP.values():
        module = sys.modules[entry.load().__module__]
        for part in ("Algorithm\n-----", "Symbols\n-----", "Deviations\n-----", "References\n-----"):
            assert part in module.__doc__, f"{entry.name} lacks {part.split()[0]}"


def test_nothing_prints():
    prints = [path for path in SOURCE.rglob("*.py") if re.search(r"^\s*print\(", path.read_text(), re.MULTILINE)]
    assert prints == []
