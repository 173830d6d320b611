# Chores, each one word. `make` alone lists them.
#
# What is installed goes into .venv and nowhere else; a second run installs only what pyproject.toml has changed.

PYTHON = python3
ARGS   =
AUDIO  =

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check

# Stamps: what has been installed, and from which pyproject.toml.
MADE := $(VENV)/made.stamp
BASE := $(VENV)/base.stamp
DEV  := $(VENV)/dev.stamp

# The browser client needs Node for its tests and types only, and there are none where npm is missing.
BROWSER := clients/browser
NODE    := $(if $(shell command -v npm),$(BROWSER)/node_modules/made.stamp,no-npm)

# The tests of the GPU engine run on a CPU, with the torch that constraints.txt names.
EVERYTHING := .[dev,bench,torch,web,otel]

.PHONY: help install demo serve test lint audit format types docs-check bench clean

help:  ## List the chores
	@echo "make CHORE [PYTHON=python3.12] [ARGS='options of the command']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(BASE)  ## Play a recording into a server at real speed and watch the captions
	@$(BIN)/stream-server demo $(ARGS)

serve: $(BASE)  ## Run the server on http://127.0.0.1:8000
	@$(BIN)/stream-server serve $(ARGS)

install: $(BASE)  ## Install the server and the command line into .venv
	@echo "Installed: $(BIN)/stream-server --help"

test: $(DEV) $(NODE)  ## Run every test, those of the pages in Chromium included
	@.ci/packages chromium
	@$(BIN)/python -m pytest $(ARGS)

lint: $(DEV)  ## Check style, formatting, and what is known of the packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory audit

# pip-audit fails as well where it cannot look anything up; .ci/audit tells the two apart.
audit: $(DEV)  ## Look up known vulnerabilities of what is installed
	@{ timeout 300 $(BIN)/pip-audit --format json --progress-spinner off --skip-editable 2>/dev/null || true; } \
	    | $(BIN)/python .ci/audit

format: $(DEV)  ## Put the code into the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(DEV) $(NODE)  ## Check types, in Python and JavaScript
	@$(BIN)/mypy
	@[ ! -e $(NODE) ] || npm --prefix $(BROWSER) run --silent check

docs-check: $(DEV)  ## Check links, the file tree, settings and commands in the documents
	@$(BIN)/python -m pytest -q tests/test_docs.py

bench: $(DEV)  ## Measure accuracy, cost, latency and capacity [AUDIO=folder with transcripts.tsv]
	@$(BIN)/python -m bench $(if $(AUDIO),--folder $(AUDIO)) $(ARGS)

clean:  ## Remove what these chores made, .venv included
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis $(BROWSER)/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. `ensurepip` is what Debian leaves out of a bare python3.
$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	    echo "Python 3.11 to 3.13 is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(BASE): pyproject.toml | $(MADE)
	@$(call install,the server with its model,-e .)
	@touch $@

# silero-vad asks for torch, which would be gigabytes of CUDA; its weights run on ONNX Runtime, so it comes without.
$(DEV): pyproject.toml tests/constraints.txt | $(MADE)
	@$(call install,the server and what the tests and benchmarks need,-c tests/constraints.txt -e '$(EVERYTHING)')
	@$(PIP) install --quiet --no-deps 'silero-vad>=6.2,<7'
	@echo "Installed silero-vad as well, without torch"
	@touch $(BASE) $@

$(BROWSER)/node_modules/made.stamp: $(BROWSER)/package-lock.json
	@echo "Installing what the tests and types of the browser client need into $(BROWSER)/node_modules"
	@npm --prefix $(BROWSER) ci --no-audit --no-fund --loglevel error >/dev/null
	@touch $@

no-npm:
	@echo "There is no npm: the types of the browser client are not checked, and its tests are skipped"

define install
echo "Installing $(1) into $(VENV); a minute or two"; \
start=$$SECONDS; \
$(PIP) install --quiet $(2); \
$(PIP) list --format=freeze 2>/dev/null | paste -sd ' ' | fold -s -w 116 | sed 's/^/  /'; \
echo "Installed in $$((SECONDS - start)) s; $(VENV) takes $$(du -sm $(VENV) | cut -f1) MB"
endef
