# Every target sets up what it needs: a virtual environment in .venv with the pinned, tested versions of
# constraints.txt. PYTHON names the interpreter to make it from, e.g. `make demo PYTHON=python3.12`.

PYTHON ?= python3
OUT    ?= demo
PYTEST ?=
WORKERS ?= 2
BENCH  ?=

VENV := .venv
BIN  := $(VENV)/bin
PIP   = $(BIN)/python -m pip --disable-pip-version-check --quiet
CODE  = $(wildcard src tests recipes benchmarks)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types bench clean
.DELETE_ON_ERROR:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run  ## the main job: find directions in the bundled model and edit with them, into demo/ (OUT=...)
	@$(BIN)/hspace demo --out "$(OUT)"
	@echo "First, to have hspace in your shell: . $(BIN)/activate"

test: $(VENV)/.dev  ## the tests and the examples in docstrings (PYTEST="-k pca -x" for pytest's own options)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST)

lint: $(VENV)/.dev  ## ruff: rules and format
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

format: $(VENV)/.dev  ## ruff: repair what it can
	@$(BIN)/ruff check --fix --quiet $(CODE) || true
	@$(BIN)/ruff format $(CODE)

types: $(VENV)/.dev  ## mypy --strict
	@$(BIN)/mypy --strict $(wildcard src recipes benchmarks)

bench: $(VENV)/.dev  ## speed and memory beside limits and baselines; history and table in docs/ (BENCH="--long")
	@$(BIN)/python -m benchmarks $(BENCH)

clean:  ## remove the environment, caches and builds (not demo/)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests recipes benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Stamps. Written last, so an interrupted set-up starts again; renewed when the packages or their pins change.
$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "hspace needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo 'not found')." \
	       "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV): some hundred megabytes, a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt hatchling
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	@touch $@
