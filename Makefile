# Every target sets up what it needs: a virtual environment in .venv with all packages, editable.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
PACKAGES := lth-core[openmmlab] lth-cls lth-det lth-seg
INSTALLED := $(VENV)/.installed

export OMP_NUM_THREADS ?= 1
export NO_MKDOCS_2_WARNING ?= 1

.PHONY: help setup demo study study-transfer study-scenes study-self-supervision study-double-win test test-long docs lint format bench bench-small clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 24

setup: $(INSTALLED)  ## install everything into .venv (or VENV=...)

$(INSTALLED): pyproject.toml packages/hatch_build.py $(wildcard packages/*/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet $(addprefix -e packages/,$(PACKAGES)) --group dev
	touch $@

demo: $(INSTALLED)  ## find tickets on digits, train three tasks from them, write report.html
	$(BIN)/lth demo

study: study-transfer study-scenes study-self-supervision study-double-win  ## all studies; each goes on where it was

study-transfer: $(INSTALLED)  ## do tickets transfer? digits, three seeds, every control
	$(BIN)/python tools/studies/transfer.py

study-scenes: $(INSTALLED)  ## the same question in detection and segmentation of digit scenes
	$(BIN)/python tools/studies/scenes.py

study-self-supervision: $(INSTALLED)  ## can networks be pruned without labels? paper B on digits
	$(BIN)/python tools/studies/self_supervision.py

study-double-win: $(INSTALLED)  ## do tickets stand attacks, too? paper C on digits
	$(BIN)/python tools/studies/double_win.py

test: $(INSTALLED)  ## every test but the exhaustive sets
	$(BIN)/python -m pytest -m "not long" -n $(JOBS)

test-long: $(INSTALLED)  ## the exhaustive sets
	$(BIN)/python -m pytest -m long -n $(JOBS)

docs: $(INSTALLED)  ## the documentation site, in build/site
	$(BIN)/mkdocs build --strict

bench: $(INSTALLED)  ## every benchmark, on a GPU if there is one; writes docs/benchmarks
	$(BIN)/python benchmarks/all.py

bench-small: $(INSTALLED)  ## do the benchmarks work? a few minutes; writes build/benchmarks
	$(BIN)/python benchmarks/all.py --small --output build/benchmarks

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and what runs have left
	rm -rf $(VENV) work_dirs build
