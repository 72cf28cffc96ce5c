# Every target sets up what it needs: .venv, from the lock files under 3rdparty/ (see 3rdparty/bootstrap.sh).
#
#   make quickstart                      the main job on a small world of its own
#   make test                            everything that is checked before a change lands, but for slow tests
#   make test PYTHON=/path/to/python     with this interpreter (CPython 3.10-3.13)
#   make test PYTEST_ARGS="-k store"     any further arguments of pytest
#   make docs                            the documentation as HTML, in build/docs

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?=
export PYTHON

# A container brings an environment of its own (docker/stagedml_dev.docker), made from the same lock files.
STAGEDML_VENV ?= .venv
BIN := $(STAGEDML_VENV)/bin
PYTEST_ARGS ?=
TEST_WORKERS ?= 2

.PHONY: help environment torch quickstart test test-slow lint typecheck format docs linkcheck reference pictures clean clean-venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: ## make or renew .venv
	@[ "$(STAGEDML_VENV)" != .venv ] || bash 3rdparty/bootstrap.sh

torch: environment ## add PyTorch to .venv, with CUDA's libraries several GB; LeNet needs it
	$(BIN)/python -m pip install --require-hashes --no-deps -r 3rdparty/lock-torch.txt

quickstart: environment ## generate, pre-train, fine-tune, show; the second run builds nothing
	@$(BIN)/python examples/quickstart.py

test: lint typecheck ## ruff, mypy --strict and all tests that are not slow
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not slow" $(PYTEST_ARGS)

test-slow: environment ## the slow tests alone
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal -m slow $(PYTEST_ARGS)

lint: environment ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

typecheck: environment ## mypy --strict
	$(BIN)/mypy

format: environment ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: environment ## build/docs/index.html; a warning, such as of a link astray, is an error
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs

linkcheck: environment ## ask every address that the documentation names; needs network
	$(BIN)/python -m sphinx -q -b linkcheck docs build/linkcheck

reference: environment ## renew the pages of docs/reference that are made of the code
	$(BIN)/python docs/make_reference.py

pictures: environment ## renew the pictures of docs/pictures
	$(BIN)/python docs/pictures/make.py

clean: ## remove caches and build products, keep .venv
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

clean-venv: ## remove .venv, too
	rm -rf .venv .venv.new .venv.old .venv.lock
