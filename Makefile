# `make demo` and `make test` need Python 3.11+ and make, nothing else.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .tools/bin/uv
RUN := .venv/bin
SOAK_SECONDS ?= 1800
SOAK_SEED ?= 1

# Where it is set, each of the many Pythons that a test run starts compiles all that it imports again.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

demo: .venv/.ready ## Set everything up and run the whole pipeline on 100,000 simulated transactions; ARGS="--yes"
	@$(RUN)/fraudflow run $(ARGS)

up: .venv/.ready ## Start the local stack
	@$(RUN)/fraudflow up

down: .venv/.ready ## Stop the local stack
	@$(RUN)/fraudflow down

status: .venv/.ready ## Show the local stack
	@$(RUN)/fraudflow status || true

# Three at a time, each with servers of its own: much of their time is waiting. A file stays together, for its fixtures,
# and the many small ones come last, so that all end at the same time.
test: .venv/.tested ## Run the tests against real servers
	@$(RUN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-slow: .venv/.tested ## Run the tests that take long
	@$(RUN)/pytest -m slow

bench: .venv/.tested ## Measure speed, and the peers beside it, into benchmarks/results
	@$(RUN)/fraudflow bench

faults: .venv/.tested ## Kill, freeze and starve real servers and scorers; counts go to tests/faults/results/
	@FAULTS_RESULTS=tests/faults/results/faults FAULTS_COMMAND="make faults" $(RUN)/pytest tests/faults -m faults

soak: .venv/.tested ## Faults at random times for SOAK_SECONDS (1800), drawn from SOAK_SEED (1)
	@FAULTS_RESULTS=tests/faults/results/soak \
		FAULTS_COMMAND="make soak SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED)" \
		SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) $(RUN)/pytest tests/faults -m soak

mutations: .venv/.tested ## Break each rule of the scoring loop once; a test must find each
	@FAULTS_RESULTS=tests/faults/results/mutations FAULTS_COMMAND="make mutations" $(RUN)/pytest tests/faults -m mutations

lint: .venv/.tested ## Check style, types and the direction of imports
	@$(UV) lock --check --quiet
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/lint-imports --no-cache
	@$(RUN)/pyright
	@$(RUN)/hadolint Dockerfile

format: .venv/.tested ## Format the code
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

clean: ## Remove the environment and the tools, not the state of the stack
	rm -rf .venv .tools

# Two sizes of one environment: what runs the pipeline, and on top of it what tests and trains it.
.venv/.ready: pyproject.toml uv.lock $(UV)
	@$(UV) sync --frozen --no-dev --extra local --extra dashboard --extra explain --extra aws --inexact --quiet
	@touch $@

.venv/.tested: pyproject.toml uv.lock $(UV)
	@$(UV) sync --frozen --all-extras --quiet
	@touch $@ .venv/.ready

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "fraudflow needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .tools 2>/dev/null || (rm -rf .tools; echo "this Python has no venv module: install it (Debian: apt install python3-venv)"; exit 1)
	@.tools/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.PHONY: help demo up down status test test-slow bench faults soak mutations lint format clean
