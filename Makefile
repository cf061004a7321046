# make demo        runs configs/demo.py, into runs/demo
# make explore     serves the page to play with a network: NETWORK=FILE_OR_RUN
# make test        style, layers, types and the tests that are not slow
# make test-slow   the same, with every test
# make parity      compares the metrics with the public packages, in PyTorch: experiments/parity
# All that they install goes into .venv, for parity into .venv-parity, again only when a list of requirements changed.

PYTHON ?= python3
BIN := .venv/bin
PARITY := .venv-parity/bin
NETWORK ?= experiments/faces64/network.safetensors
# A process a core, up to four; each takes neighbouring tests, which share compiled programs.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo explore test test-slow check parity

demo: .venv/.installed
	$(BIN)/python -m stylegan_jax.main --config configs/demo.py --workdir runs/demo

explore: .venv/.installed
	$(BIN)/python -m stylegan_jax.main --mode=explore --network=$(NETWORK)

test: check
	$(PYTEST) -m "not slow"

test-slow: check
	$(PYTEST)

check: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

parity: .venv-parity/.installed
	$(PARITY)/python -m experiments.parity

.venv/.installed: requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, but $(PYTHON) is {sys.version.split()[0]}; try make PYTHON=python3.12")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt requirements-hub.txt requirements-notebooks.txt requirements-onnx.txt
	$(INSTALL) --editable '.[dev]'
	@touch $@

# PyTorch comes from its index for CPUs. Where that cannot be reached, pip takes what its own indexes have.
.venv-parity/.installed: requirements.txt requirements-parity.txt setup.py
	test -x $(PARITY)/pip || $(PYTHON) -m venv .venv-parity
	$(PARITY)/python -m pip install --quiet --disable-pip-version-check --retries 1 \
		--extra-index-url https://download.pytorch.org/whl/cpu $$(grep -E '^torch(vision)?>' requirements-parity.txt)
	$(PARITY)/python -m pip install --quiet --disable-pip-version-check -r requirements-parity.txt --editable .
	@touch $@
