# make demo            the main job on real input (without a Hopper GPU: everything but the launch)
# make test            host tests and GPU tests; GPU tests skip, with the reason, where there is none
# PYTHON=python3 VENV= make test      with what is installed, installing nothing

PYTHON ?= python3
VENV ?= .venv

ifeq ($(strip $(VENV)),)
RUN := $(PYTHON)
READY := python
else
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed
endif

.PHONY: demo test test-gpu bench lint python

demo: $(READY)
	$(RUN) -m nvgemm demo

test: $(READY)
	$(RUN) -m pytest

test-gpu: $(READY)
	$(RUN) -m pytest tests/gpu

bench: $(READY)
	$(RUN) tools/bench.py

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

python:
	@command -v "$(PYTHON)" >/dev/null || { echo "make: $(PYTHON) was not found; name a Python of 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: nvgemm needs Python 3.11 or newer, and $$("$(PYTHON)" --version) is older; name another: make PYTHON=python3.12" >&2; exit 1; }

# An order-only check of the interpreter, so that the stamp alone decides whether anything is installed.
$(VENV)/.installed: pyproject.toml | python
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: this Python has no venv module (on Debian and Ubuntu: apt install python3-venv), or use what is installed: make PYTHON=$(PYTHON) VENV=" >&2; exit 1; }
	@echo "make: installing nvgemm and what its tests need into $(VENV), once"
	"$(PYTHON)" -m venv "$(VENV)"
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test,lint,tools]'
	touch "$@"
