# pncpki: every command sets up what it needs. Start with `make demo`; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# The caller's own Python settings must not leak into ours.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q
# A process for each core; the tests of a file stay together, for they share what is costly to set up.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help demo test check format lint bench soak setup-python setup-demo setup-test clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup-demo ## sign a sample batch of 1,000 requests, from nothing to verified certificates
	@$(BIN)/pncpki demo

test: setup-test ## run every test, PostgreSQL and SoftHSM included (all but the soak runs)
	@$(PYTEST) $(SIDE_BY_SIDE)

check: setup-test lint ## format, lint, types, import rules and the fast tests
	@$(PYTEST) -m "not slow and not soak and not bench" tests/unit tests/properties

bench: setup-test ## measure signing rates, memory and cost per certificate
	@$(BIN)/python -m bench

soak: setup-test ## long kill, load and fuzz runs
	@$(PYTEST) -m soak --timeout=14400

format: setup-python ## format the code and mend what can be mended
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

lint: setup-python
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

setup-python:
	@deployments/setup.sh python

setup-demo:
	@deployments/setup.sh demo

setup-test:
	@deployments/setup.sh test

clean: ## remove the environment, caches and builds (never keys or databases)
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
