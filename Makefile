# Two commands for a fresh machine: `make quickstart` and `make test`. Everything lives in .venv.

PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(HARNESS_DATA_DIR)

.PHONY: install quickstart test lint fast bench boards data clean

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

# The published boards, made anew one after the other. Each run and its cache begin empty: a row's cost columns are
# those of the forward pass that made its features, and must all be of this machine and this code.
boards: data board-safety-text board-general-text board-behaviours

board-%: data install
	rm -rf runs/boards/$*
	$(BIN)/harness run $* --data-dir "$(DATA)" --cache-dir runs/boards/$*/cache -o runs/boards/$*/run
	$(BIN)/harness leaderboard publish runs/boards/$*/run -o leaderboards/$* --replace

data:
	@test -d "$(DATA)" || { echo "boards need the mirrored datasets: HARNESS_DATA_DIR=/path/to/data make boards" >&2; exit 1; }

clean:
	rm -rf .venv build dist
