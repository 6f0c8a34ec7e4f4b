# Two commands are enough: make quickstart, make test.
VENV  ?= .venv
PY    := $(VENV)/bin/python
# On a machine without a GPU this saves gigabytes: make quickstart PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_FLAGS ?=
PIP   := $(PY) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)
TORCH ?= torch==2.13.0

.PHONY: quickstart test check docs bench clean

quickstart: $(VENV)/.core
	$(VENV)/bin/mnatune run recipes/quickstart.yaml --out runs/quickstart

test: $(VENV)/.dev
	$(PY) -m pytest

check: $(VENV)/.dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: $(VENV)/.dev
	$(PY) docs/generate.py

bench: $(VENV)/.dev
	for script in bench/*.py; do grep -q -- '--quick' $$script && $(PY) $$script --quick || true; done

$(VENV)/.core: pyproject.toml
	python3 -m venv $(VENV)
	$(PIP) "$(TORCH)"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core pyproject.toml
	$(PIP) "$(TORCH)" -e ".[dev,serve,collect,documents,judge]"
	@touch $@

clean:
	rm -rf $(VENV) runs dist
