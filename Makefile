# `make demo` and `make test` are the two commands; both create what they need.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test quick nightly test-min check format docs release-check clean

demo: .venv/runtime
	$(BIN)/secateur demo --out out/demo

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

quick: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not nightly"

nightly: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m nightly

test-min: .venv-min/ready  # the lowest versions that are admitted; minutes, so not in CI
	.venv-min/bin/python -m pytest -m "not slow and not nightly"

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

release-check: .venv/dev
	$(BIN)/python scripts/release_check.py

docs: .venv/docs
	$(BIN)/python -m sphinx -W --keep-going -q -E -b html docs out/docs
	$(BIN)/python docs/check.py out/docs

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

.venv/dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/pip install -q -c constraints.txt --no-deps timm  # its torchvision is not needed
	touch $@ .venv/runtime

.venv-min/ready: pyproject.toml constraints-min.txt
	$(PYTHON) -m venv .venv-min
	.venv-min/bin/pip install -q -c constraints-min.txt -e ".[dev]"
	touch $@

.venv/docs: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	touch $@ .venv/runtime

clean:
	rm -rf .venv .venv-min out
