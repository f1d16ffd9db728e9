# `make demo` and `make test` set everything up themselves; nothing but Python 3.11+ is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.PHONY: setup demo demo-zero test test-all lint bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aha needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/aha run recipes/laptop.toml

demo-zero: setup
	$(BIN)/aha run recipes/zero_laptop.toml

test: setup
	$(BIN)/python -m pytest

test-all: setup
	$(BIN)/python -m pytest -m 'not network'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Peers get environments of their own under .bench/, the model is fetched once. Some two and a half hours on two cores (the sum of its parts); `make bench ARGS=--quick`
# takes tiny sizes: does all of it run? Each script also runs alone: python -m benchmarks.rollout --help
bench: setup
	$(BIN)/python -m benchmarks.environments
	$(BIN)/aha model get smollm2-135m
	@for name in grpo_step scaling tiny roofline rollout; do $(BIN)/python -m benchmarks.$$name $(ARGS) || exit 1; done
	$(BIN)/python -m benchmarks.table

clean:
	rm -rf $(VENV) build dist *.egg-info
