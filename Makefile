# `make run`: the whole lifecycle in a sandbox on this machine. `make test`: everything CI runs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test lint types imports terraform pytest lock clean

run: $(STAMP)
	$(BIN)/slipway run $(if $(KEEP),--keep)

test: lint types imports terraform pytest

# uv installs from the lock in seconds where pip takes minutes; it is itself pinned and comes by pip. Compiled now, or every
# process of the sandbox compiles what it imports where PYTHONDONTWRITEBYTECODE is set, as it is in many containers
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.8'
	$(BIN)/uv pip sync --quiet --system-certs --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-deps --editable .
	$(BIN)/python -m compileall -q flows sandbox tasks
	$(BIN)/python -m sandbox.prefect_store
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

# terraform from PATH, or the one the sandbox supplies
terraform: $(STAMP)
	$(BIN)/python -m tests.terraform_check

pytest: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --system-certs --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 pyproject.toml -o requirements.lock

clean:
	-$(BIN)/slipway sandbox down
	rm -rf $(VENV) .sandbox .slipway
