# `make run`: the whole lifecycle in a sandbox on this machine. `make test`: everything CI runs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

CHECKOV := .checkov
REAL_ENGINE := .real-engine
LITELLM := .litellm

.PHONY: run test check acceptance long buttons postgres real-engine litellm checkov pictures image lint types imports unit lock clean install

run: $(STAMP)
	$(BIN)/slipway sandbox demo $(if $(KEEP),--keep)

test: check acceptance checkov
	$(MAKE) -C sandbox test

# the ring for every save: no process is started. mypy uses one core, so the unit tests run beside it
check: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint types imports unit

unit: $(STAMP)
	$(BIN)/pytest -n 2 tests/unit

# the product over the sandbox, and one case of tests/buttons
acceptance: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m 'not long' tests/acceptance tests/buttons

# whole lifecycles of special shapes (enforced policies, an existing cluster, two replicas on two nodes), a worker's run that
# is cancelled or killed, `slipway ci`, the benches
long: $(STAMP) $(LITELLM)/.installed
	SLIPWAY_LITELLM=$(abspath $(LITELLM)/bin/python) $(BIN)/pytest -n 2 --dist loadfile -m long tests/acceptance

# the terraform roots against checkov's rules. It brings 100 packages with versions of its own: an environment of its own
checkov: $(STAMP) $(CHECKOV)/.installed
	$(BIN)/python -m tools.root_checks $(CHECKOV)/bin/checkov

$(CHECKOV)/.installed: Makefile
	test -x $(CHECKOV)/bin/python || $(PYTHON) -m venv $(CHECKOV)
	$(BIN)/uv pip install --quiet --system-certs --python $(CHECKOV)/bin/python 'checkov==3.3.30'
	touch $@

# every button of Prefect and every kill in every stage, then N random moments; the nightly has N=50
buttons: $(STAMP)
	N=$(or $(N),3) $(BIN)/pytest -rP tests/buttons

# a worker's tests with Prefect's server on Postgres, which Debian's package postgresql brings
postgres: $(STAMP)
	DATABASE=postgres $(BIN)/pytest -m long tests/acceptance/buttons

# a real vLLM on this machine's CPU: its wire against the transcripts the stand-in follows, and a lifecycle in a sandbox
real-engine: $(STAMP) $(REAL_ENGINE)/.installed
	SLIPWAY_REAL_ENGINE=$(abspath $(REAL_ENGINE)/bin/vllm) $(BIN)/pytest tests/real_engine
	SLIPWAY_REAL_ENGINE=$(abspath $(REAL_ENGINE)/bin/vllm) $(MAKE) -C sandbox real-engine

$(REAL_ENGINE)/.installed: tools/real_engine.py
	$(BIN)/python -m tools.real_engine $(REAL_ENGINE) $(TORCH)
	touch $@

# a real LiteLLM for `gateway.backend: litellm` in a sandbox, which runs the one that SLIPWAY_LITELLM names
litellm: $(STAMP) $(LITELLM)/.installed

$(LITELLM)/.installed: tools/litellm.py
	$(BIN)/python -m tools.litellm $(LITELLM)
	touch $@

# what the Dockerfile copies and installs, in a clean folder, as its user: a worker runs a flow there. As root; Debian's Python
image: $(STAMP)
	$(BIN)/python -m tools.image

# docs/pictures, drawn from a deploy in a sandbox by Chromium: apt-get install chromium
pictures: $(STAMP)
	$(BIN)/python -m tools.pictures

install: $(STAMP)

# uv installs from the lock in seconds where pip takes minutes; it is itself pinned and comes by pip. Compiled now, or every
# process of the sandbox compiles what it imports where PYTHONDONTWRITEBYTECODE is set, as it is in many containers
$(STAMP): requirements-dev.lock pyproject.toml sandbox/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.8'
	$(BIN)/uv pip sync --quiet --system-certs --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.lock
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-deps --editable . --editable sandbox
	$(BIN)/python -m compileall -q flows tasks sandbox/slipway_sandbox
	$(BIN)/python -m slipway_sandbox.prefect_store
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

# requirements-dev.lock: product, sandbox and the tools of both, for this checkout. requirements.lock: the product alone at
# the same versions, for the image
COMPILE = $(BIN)/uv pip compile --quiet --system-certs --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11
lock: $(STAMP)
	$(COMPILE) --all-extras pyproject.toml sandbox/pyproject.toml -o requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --extra kubernetes-worker pyproject.toml -o requirements.lock

clean:
	-$(BIN)/slipway sandbox down
	rm -rf $(VENV) $(CHECKOV) $(REAL_ENGINE) $(LITELLM) .sandbox .slipway
