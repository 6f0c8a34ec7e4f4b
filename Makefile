# Two commands are enough: make quickstart, make test.
VENV  ?= .venv
PY    := $(VENV)/bin/python
# On a machine without a GPU this saves gigabytes: make quickstart PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_FLAGS ?=
PIP   := $(PY) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)
TORCH ?= torch==2.13.0
# Everything but torch is installed by its hash. torch has no lock: its build (CPU, CUDA, ROCm) differs from machine to machine.
LOCKED := $(PIP) --require-hashes --no-deps

.PHONY: quickstart test check docs bench sbom lock clean

quickstart: $(VENV)/.core
	$(VENV)/bin/mnatune run recipes/quickstart.yaml --out runs/quickstart

# Two workers: each comes to hold about 3 GB.
test: $(VENV)/.dev
	$(PY) -m pytest -n auto --maxprocesses 2 --dist loadfile

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

$(VENV)/.dev: pyproject.toml requirements/dev.lock
	python3 -m venv $(VENV)
	$(LOCKED) -r requirements/dev.lock
	$(PIP) "$(TORCH)"
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(VENV)/.core $@

$(VENV)/tools: requirements/tools.lock
	python3 -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/tools.lock
	@touch $@

# What is installed, as CycloneDX, with licences. Its tool has an environment of its own.
sbom: $(VENV)/.dev $(VENV)/tools
	mkdir -p dist
	$(VENV)/tools/bin/cyclonedx-py environment $(PY) --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.json

# Pin anew; a package moves only if pyproject.toml or `LOCK_FLAGS=--upgrade` asks for it.
LOCK = $(VENV)/tools/bin/uv pip compile $(LOCK_FLAGS) --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
TORCH_ONLY = /^(torch|triton|nvidia-|cuda-)/
lock: $(VENV)/tools
	printf 'hatchling\neditables\n$(TORCH)\n' > requirements/build.in
	$(LOCK) pyproject.toml requirements/build.in --extra dev --extra serve --extra collect --extra documents --extra judge -o requirements/dev.lock
	$(LOCK) pyproject.toml requirements/build.in --extra serve --extra postgres -c requirements/dev.lock -o requirements/serve.lock
	printf 'cyclonedx-bom\nuv\n' > requirements/build.in
	$(LOCK) requirements/build.in -o requirements/tools.lock
	for file in dev serve; do \
	  awk '/^[a-z]/ {keep = !$(TORCH_ONLY)} keep' requirements/$$file.lock > requirements/build.in && mv requirements/build.in requirements/$$file.lock; done

clean:
	rm -rf $(VENV) runs dist
