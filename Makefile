# Set up, serve and test brainviz; each step is done once and remembered by a stamp.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Two test processes with one compute thread each use two cores best; more threads than cores only wait for each other.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

.PHONY: app test test-slow lint chromium clean
.DELETE_ON_ERROR:

app: $(VENV)/.app-ready
	$(BIN)/streamlit run app.py

test: $(VENV)/.test-ready chromium
	$(PYTEST) -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/.test-ready chromium
	$(PYTEST) -m slow

lint: $(VENV)/.test-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Real Chromium for tests/browser; Playwright only drives it.
chromium:
	@sh scripts/install_chromium.sh

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "brainviz needs Python 3.11 or newer; found $$($(PYTHON) --version 2>&1). Name another with: make PYTHON=python3.12 app"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app-ready: requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.test-ready: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.app-ready

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
