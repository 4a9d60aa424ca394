# Two commands for a fresh machine: `make quickstart` and `make test`. Everything lives in .venv.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install quickstart test lint fast bench clean

install: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

quickstart: install
	$(BIN)/harness run quickstart

test: install lint
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "not gpu" --benchmark-skip

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fast: install
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "not gpu and not slow and not data" --benchmark-skip

bench: install
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/benchmarks --benchmark-only

clean:
	rm -rf .venv build dist
