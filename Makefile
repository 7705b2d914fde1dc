# Every recipe is one command; the README shows what each of them wraps.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Empty where the machine's pip already finds a CPU build of torch.
TORCH_INDEX ?=

.PHONY: setup demo test lint types bench-quick peers torture speed clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/deepclust fit digits -k 10 --out runs/demo --overwrite

test: setup lint types
	$(BIN)/python -m pytest -n auto

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: setup
	$(BIN)/mypy

bench-quick: setup
	$(BIN)/deepclust bench run benchmarks/quality/quick.toml --workers 2 && $(BIN)/deepclust bench table

# Published packages in an environment of their own, into the same records.
peers:
	test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --constraint constraints.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	.venv-peers/bin/pip install --quiet --constraint constraints.txt --editable . ./benchmarks/peers
	.venv-peers/bin/deepclust bench run benchmarks/peers/peers.toml && .venv-peers/bin/deepclust bench table

torture: setup
	DEEPCLUST_KILLS=20 $(BIN)/python -m pytest tests/bench -k killed
	DEEPCLUST_TORTURE=1 $(BIN)/python -m pytest -n auto --dist loadfile tests/torture tests/storage
	$(BIN)/pip install --quiet atheris && $(BIN)/python benchmarks/torture/fuzz.py

speed: setup
	$(BIN)/python benchmarks/speed/step.py
	$(BIN)/python benchmarks/speed/imports.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
