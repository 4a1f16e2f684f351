# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all check setup docs card clean

demo: .venv/core
	$(BIN)/dar demo --out out/demo.html --overwrite

# Each worker computes with one thread: more would wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

test: .venv/dev
	$(PYTEST) -m "not slow"

test-all: .venv/dev
	$(PYTEST)

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: .venv/dev

# The site of docs/ and of the docstrings, in out/site/index.html; whatever Sphinx warns of is an error, dead links too.
docs: .venv/docs
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet -d out/doctrees docs out/site

# Measures the bundled model and writes its card; DATA is a folder with CIFAR-10's train.parquet and test.parquet.
card: .venv/dev
	$(BIN)/python scripts/model_card.py --data $(DATA)

.venv/core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev: .venv/core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

.venv/docs: .venv/core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf .venv out docs/api
