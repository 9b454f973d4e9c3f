# One front door. `make demo` and `make test` need nothing but Python 3.11 or newer and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench measure figures dashboards docs proto recordings lock clean

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

install: $(VENV)/.installed  ## make .venv and install what is locked

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "karman needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked packages into $(VENV) (once; about a minute)"
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.installed
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

demo: install  ## replay a simulated GPU server through the whole pipeline
	$(BIN)/karman demo $(ARGS)

test: $(VENV)/.dev  ## run the tests, two files at a time: most of their time they wait
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.dev  ## ruff, mypy, import contracts, generated code is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=grafana $(BIN)/mypy grafana/*.py
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check
	$(BIN)/python grafana/generate.py --check

bench: install  ## measure this machine
	$(BIN)/karman bench $(ARGS)

measure: $(VENV)/.dev  ## measure docs/performance anew: 45 minutes on a quiet machine
	$(BIN)/karman bench load --devices 1000 --seconds 300 --devices-per-actor 500 --output docs/performance/load.json
	$(BIN)/karman bench load --devices 1500 --seconds 300 --devices-per-actor 500 --no-alone --output docs/performance/stretch.json
	$(BIN)/karman bench load --devices 100 --seconds 600 --no-alone --output docs/performance/flat.json
	$(BIN)/karman bench load --devices 1 --rate 300000 --no-both-channels --no-store --no-alone --output docs/performance/one.json
	$(BIN)/karman bench load --devices 1 --rate 200000 --no-store --no-alone --output docs/performance/one-both.json
	$(BIN)/karman bench growth --output docs/performance/growth.json
	$(BIN)/karman bench growth --devices 1 --output docs/performance/one-device.json
	$(BIN)/karman bench limit --devices-per-actor 500 --output docs/performance/limit.json
	$(BIN)/karman bench start --output docs/performance/start.json
	$(BIN)/karman bench --output docs/performance/stages.json
	$(MAKE) figures

figures: $(VENV)/.dev  ## write the tables and the plot of docs/performance.md from its figures
	$(BIN)/python docs/performance/figures.py

proto: $(VENV)/.dev  ## regenerate the protobuf code
	$(BIN)/python proto/generate.py

dashboards: $(VENV)/.installed  ## regenerate grafana/dashboards
	$(BIN)/python grafana/generate.py

docs: $(VENV)/.installed  ## regenerate docs/metrics.md and docs/fleet.schema.json
	$(BIN)/karman metrics > docs/metrics.md
	$(BIN)/karman check --schema > docs/fleet.schema.json

recordings: $(VENV)/.dev  ## simulate the recordings in datasets/ and plot them
	$(BIN)/karman recordings simulate --all
	$(BIN)/python datasets/plot.py

lock: $(VENV)/.dev  ## resolve the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --upgrade pyproject.toml requirements-build.in --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --upgrade --group dev --constraint requirements.lock pyproject.toml --output-file requirements-dev.lock

clean:  ## remove what was installed and cached
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
