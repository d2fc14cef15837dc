# Every target makes .venv by itself; a fresh machine needs git, make and Python >= 3.11.
#
#   make quickstart   raw data to a better reasoner, on a CPU; the result lies in runs/quickstart
#   make test         all tests but those that need a browser or kill whole runs (.ci/run runs them too)
#   make check        format, lint, types, architecture and documentation
#   make clean        remove caches and build leftovers;  make distclean: .venv too. Runs are never removed.
#
# PYTHON=... chooses the interpreter, TORCH_ARGS="..." is handed to pip when it installs torch.

.DEFAULT_GOAL := help
.PHONY: help install quickstart test check clean distclean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
TORCH_ARGS ?=

help:
	@sed -n 's/^#   //p' Makefile

install: $(INSTALLED)

# Torch comes first and alone, so that TORCH_ARGS can choose its build; afterwards its pin is satisfied.
$(INSTALLED): pyproject.toml constraints.txt
	@python="$$(.ci/find-python $(PYTHON))" && { [ -x $(BIN)/python ] || "$$python" -m venv $(VENV); }
	@echo "installing torch into $(VENV) (the largest download, once)"
	@$(PIP) install --quiet $(TORCH_ARGS) "$$(grep '^torch==' constraints.txt)"
	@echo "installing openklear and the rest into $(VENV)"
	@$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(INSTALLED)
	$(BIN)/openklear run recipes/quickstart.toml --output runs/quickstart

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'not browser and not chaos'

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_architecture.py tests/test_docs.py

clean:
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
