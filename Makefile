# Two commands on a bare machine: `make demo` and `make test`. Everything is installed into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# Two processes of one thread each use two cores better than one process of two, and never more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal

.PHONY: help demo test test-full lint format bench clean

help:
	@echo "make demo       install, then train STAM and mean pooling on generated videos and compare them (minutes)"
	@echo "make test       install, then the quick tests"
	@echo "make test-full  install, then all tests, the demo included"
	@echo "make lint       install, then ruff, mypy and the layer test"
	@echo "make bench      install, then the measurements in benchmarks/"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@rm -rf runs/demo
	@$(BIN)/fewframes demo --output runs/demo

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

test-full: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"
	$(BIN)/pytest -q -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/pytest -q tests/architecture

format: $(VENV)/.installed-dev
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/first_light.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis runs
