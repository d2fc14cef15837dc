# Every target makes .venv by itself; a fresh machine needs git, make and Python >= 3.11.
#
#   make quickstart   raw data to a better reasoner, on a CPU; the result lies in runs/quickstart
#   make test         all tests but those that need a browser or a cluster, or kill whole runs (.ci/run runs them too)
#   make test-verl    the tests of the plug-in for verl, in .venv-verl with verl in it (Python 3.11 or 3.12)
#   make test-vllm    the sampler over vLLM for CPUs, which is installed into .venv-vllm
#   make test-readers saved models, read by transformers 4 in .venv-readers (which borrows torch from .venv)
#   make check        format, lint, types, architecture, the public interface and documentation
#   make clean        remove caches and build leftovers;  make distclean: the environments too. Runs are never removed.
#
# PYTHON=... chooses the interpreter, TORCH_ARGS="..." is handed to pip when it installs torch, JOBS=... is how many
# processes share the tests (2).

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-verl test-vllm test-readers check clean distclean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
TORCH_ARGS ?=
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

VENV_VERL := .venv-verl
BIN_VERL := $(VENV_VERL)/bin
INSTALLED_VERL := $(VENV_VERL)/installed
PIP_VERL := $(BIN_VERL)/python -m pip --disable-pip-version-check --no-input

VENV_VLLM := .venv-vllm
BIN_VLLM := $(VENV_VLLM)/bin
INSTALLED_VLLM := $(VENV_VLLM)/installed
PIP_VLLM := $(BIN_VLLM)/python -m pip --disable-pip-version-check --no-input

VENV_READERS := .venv-readers
BIN_READERS := $(VENV_READERS)/bin
INSTALLED_READERS := $(VENV_READERS)/installed

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
	$(PYTEST) -n $(JOBS) --dist loadfile -m 'not long and not browser and not chaos and not cluster and not verl and not vllm and not readers'

# verl pins another transformers and wants Python < 3.13, so it has an environment of its own, with openklear's core only.
$(INSTALLED_VERL): pyproject.toml constraints-verl.txt
	@[ -x $(BIN_VERL)/python ] || for name in $(or $(PYTHON),python3.12 python3.11 python3); do \
	  if python="$$(.ci/find-python $$name 2>/dev/null)"; then "$$python" -m venv $(VENV_VERL); break; fi; done
	@[ -x $(BIN_VERL)/python ] || { echo "verl needs Python 3.11 or 3.12, and none is here: give PYTHON=..." >&2; exit 1; }
	@$(BIN_VERL)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13) and "verl needs Python < 3.13; remove $(VENV_VERL) and give another PYTHON=...")'
	@echo "installing torch and verl into $(VENV_VERL) (large downloads, once)"
	@$(PIP_VERL) install --quiet $(TORCH_ARGS) "$$(grep '^torch==' constraints-verl.txt)"
	@$(PIP_VERL) install --quiet -c constraints-verl.txt "$$(grep '^verl==' constraints-verl.txt)" pytest
	@$(PIP_VERL) install --quiet --no-deps -e .
	@touch $@

test-verl: $(INSTALLED_VERL)
	OMP_NUM_THREADS=1 $(BIN_VERL)/python -m pytest -q -m verl tests/integrations

# vLLM pins another transformers. Its environment is exactly what constraints-vllm.txt lists; nothing of ours is in it.
$(INSTALLED_VLLM): constraints-vllm.txt
	@python="$$(.ci/find-python $(PYTHON))" && { [ -x $(BIN_VLLM)/python ] || "$$python" -m venv $(VENV_VLLM); }
	@echo "installing torch and vLLM into $(VENV_VLLM) (large downloads, once)"
	@$(PIP_VLLM) install --quiet $(TORCH_ARGS) "$$(grep '^torch==' constraints-vllm.txt)"
	@$(PIP_VLLM) install --quiet --no-deps -r constraints-vllm.txt
	@touch $@

test-vllm: $(INSTALLED) $(INSTALLED_VLLM)
	OPENKLEAR_VLLM=$(CURDIR)/$(BIN_VLLM)/python $(PYTEST) -m vllm tests/rollout tests/e2e

# What differs from .venv alone; torch and the rest stand there, behind it on the path.
$(INSTALLED_READERS): $(INSTALLED) constraints-readers.txt
	@[ -x $(BIN_READERS)/python ] || $(BIN)/python -m venv $(VENV_READERS)
	@$(BIN_READERS)/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps -r constraints-readers.txt
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  >"$$($(BIN_READERS)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz-torch.pth"
	@touch $@

test-readers: $(INSTALLED_READERS)
	OPENKLEAR_READER=$(BIN_READERS)/python $(PYTEST) -m readers tests/models

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) tests/test_architecture.py tests/test_docs.py tests/test_api.py

clean:
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks examples tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(VENV_VERL) $(VENV_VLLM) $(VENV_READERS)
