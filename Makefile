# Two commands for a fresh machine: `make quickstart` and `make test`. Everything lives in .venv.

PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(HARNESS_DATA_DIR)
CORPUS ?= $(HARNESS_CORPUS_DIR)
WEIGHTS := plugins/harness_minigemma/weights
SIZES := s m l

.PHONY: install quickstart test test-identities lint fast bench boards data family models dictionaries cards seeing corpus clean

install: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

quickstart: install
	$(BIN)/harness run quickstart

# One process a core, one thread a process: threads of several processes would wait for one another.
ALONE := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1

test: install lint
	$(ALONE) $(BIN)/python -m pytest -m "not gpu" --benchmark-skip -n auto --dist loadfile

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fast: install
	$(ALONE) $(BIN)/python -m pytest -m "not gpu and not slow and not data" --benchmark-skip -n auto --dist loadfile

# The identities of every shipped suite that can be planned offline: seven minutes, of which `make test` takes one.
test-identities: install data
	HARNESS_ALL_IDENTITIES=1 HARNESS_DATA_DIR="$(DATA)" $(ALONE) $(BIN)/python -m pytest tests/test_plan_identity.py -n auto

bench: install
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/benchmarks --benchmark-only

# The published boards, made anew one after the other. Each run and its cache begin empty: a row's cost columns are
# those of the forward pass that made its features, and must all be of this machine and this code.
boards: data board-safety-text board-general-text board-behaviours board-mosaic-small board-mosaic-widths \
  board-mosaic-selection board-mosaic-noise board-mosaic-faults board-probing-scarcity board-probing-imbalance \
  board-probing-noise board-probing-shift board-probing-ksparse board-planted board-crosslingual \
  board-crosslingual-topics board-crosslingual-wild board-transfer board-behaviour-prediction board-vision

board-%: data install
	rm -rf runs/boards/$*
	$(BIN)/harness run $* --data-dir "$(DATA)" --cache-dir runs/boards/$*/cache -o runs/boards/$*/run
	$(BIN)/harness leaderboard publish runs/boards/$*/run -o leaderboards/$* --replace

# The noise floor: the same cells at three batch sizes, each with features of its own.
board-mosaic-noise: data install
	rm -rf runs/boards/mosaic-noise leaderboards/mosaic-noise
	for size in auto 1 64; do \
	  $(BIN)/harness run mosaic-noise --data-dir "$(DATA)" -b $$size --cache-dir runs/boards/mosaic-noise/cache-$$size \
	    -o runs/boards/mosaic-noise/$$size && \
	  $(BIN)/harness leaderboard publish runs/boards/mosaic-noise/$$size -o leaderboards/mosaic-noise --name batch-$$size || exit; \
	done

# One run a model, and one for the arms without: together they would break the limit of what is published.
TOPICS := runs/boards/crosslingual-topics
board-crosslingual-topics: data install
	rm -rf $(TOPICS) leaderboards/crosslingual-topics
	for size in s m l; do \
	  $(BIN)/harness run crosslingual-topics -m minigemma-$$size --set representations=[hidden] --data-dir "$(DATA)" \
	    --cache-dir $(TOPICS)/cache -o $(TOPICS)/minigemma-$$size || exit; \
	done
	$(BIN)/harness run crosslingual-topics --set models=[] --set 'representations=[tfidf,"char_ngrams[n=4]",text_length,majority]' \
	  --data-dir "$(DATA)" --cache-dir $(TOPICS)/cache -o $(TOPICS)/words
	for run in minigemma-s minigemma-m minigemma-l words; do \
	  $(BIN)/harness leaderboard publish $(TOPICS)/$$run -o leaderboards/crosslingual-topics --name $$run || exit; \
	done

# What each fault of the published study does to the verdict: the study done right, and with one fault at a time. All
# share a cache.
RIGHT := -m minigemma-m -m minigemma-l --set 'models.0.sites=[resid_post.50%,resid_post.75%]' \
  --set 'models.1.sites=[resid_post.50%,resid_post.75%]'
SHIFTED := -m minigemma-m -m minigemma-l --set 'models.0.sites=[resid_post.1,resid_post.3]' \
  --set 'models.1.sites=[resid_post.2,resid_post.4]' --set 'representations=[hidden,{name: minigemma-scope, layer_offset: 1}]'

board-mosaic-faults: data install
	rm -rf runs/boards/mosaic-faults leaderboards/mosaic-faults/*/
	$(MAKE) fault-right MORE="$(RIGHT)"
	$(MAKE) fault-layer MORE="$(SHIFTED)"
	$(MAKE) fault-bos MORE="$(RIGHT) --set tokens=all"
	$(MAKE) fault-split MORE="$(RIGHT) --set regimes=[mosaic_split]"
	$(MAKE) fault-last MORE="$(RIGHT) --set representations=[hidden] --set poolings=[last] --set transforms=[none]" PART=-hidden
	$(MAKE) fault-last MORE="$(RIGHT) --set representations=[minigemma-scope]" PART=-features
	$(MAKE) fault-probe MORE="$(RIGHT) --set 'classifiers=[logreg,mosaic_probe,mosaic_probe(restore=true)]' --set 'poolings=[sum,mean]' --set transforms=[none]"
	$(MAKE) fault-all SUITE=mosaic-compat-small
	$(BIN)/python -m harness_mosaic.faults leaderboards/mosaic-faults

SUITE ?= mosaic-small

fault-%:
	$(BIN)/harness run $(SUITE) --data-dir "$(DATA)" $(MORE) --cache-dir runs/boards/mosaic-faults/cache \
	  -o runs/boards/mosaic-faults/$*$(PART)
	$(BIN)/harness leaderboard publish runs/boards/mosaic-faults/$*$(PART) -o leaderboards/mosaic-faults/$* \
	  --name $*$(PART)

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

cards: corpus
	$(BIN)/python -m harness_minigemma.evaluate --all --corpus "$(CORPUS)" --write-card
	for size in $(SIZES); do \
	  for folder in $(WEIGHTS)/minigemma-$$size-scope/layer_*/width_*/average_l0_*; do \
	    $(BIN)/harness report-dictionary $$folder -m minigemma-$$size --data "$(CORPUS)" --tokens 131072 \
	      -o runs/reports/minigemma-$$size/$$(basename $$(dirname $$(dirname $$folder)))-$$(basename $$(dirname $$folder)) \
	      --json > $$folder/report.json || exit; \
	  done; \
	  $(BIN)/python -m harness_minigemma.scope --size $$size || exit; \
	done

# The two models that see, and their dictionaries. They begin with minigemma-m, which stays as it is.
SEEN := --data "$(DATA)/eurosat/data.parquet" --data "$(DATA)/omniglot_small/data.parquet" --tokens 1200000 --replace

seeing: data install
	for model in miniclip minipaligemma; do \
	  $(BIN)/python -m harness_minigemma.vision.train --model $$model --data-dir "$(DATA)" $(MODEL_OPTIONS) || exit; \
	done
	$(BIN)/harness train-dictionary -m miniclip --site vision.resid_post.75% --width 8x $(SEEN) -o $(WEIGHTS)/miniclip-scope
	$(BIN)/harness train-dictionary -m minipaligemma --site resid_post.50% --width 8x $(SEEN) -o $(WEIGHTS)/minipaligemma-scope
	$(BIN)/python -m harness_minigemma.vision.scope

corpus:
	@test -d "$(CORPUS)" || { echo "the family needs its corpus: HARNESS_CORPUS_DIR=/path/to/corpus make family" >&2; exit 1; }

data:
	@test -d "$(DATA)" || { echo "boards need the mirrored datasets: HARNESS_DATA_DIR=/path/to/data make boards" >&2; exit 1; }

clean:
	rm -rf .venv build dist
