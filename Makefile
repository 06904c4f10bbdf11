# Every target sets up what it needs: a .venv with exactly what requirements.lock names.
.DEFAULT_GOAL := help
.PHONY: bench format help integration lint lock run setup test

# The interpreter .venv is made with; the first that is new enough, if empty.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/requirements.lock
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
# More flags for the one program a target runs: make run ARGS="--input=/var/log/kubernetes/audit", make test ARGS="-k policy".
ARGS ?=
# A directory of .ndjson or .zst logs for `make bench`; the bundled sample, repeated, if empty.
BENCH_DATA ?=

run: setup ## reduce the bundled sample into ./reduced (ARGS="--input=… --output=…" for your own logs)
	@$(BIN)/python -m pipelines.reduce --runner=DirectRunner $(ARGS)

test: setup ## run the tests, less the slow and the outside ones
	@$(BIN)/python -m pytest -q -n auto --dist=loadfile -m "not integration" $(ARGS)

lint: setup ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'lint: `make format` puts this right' >&2; exit 1; }
	@$(BIN)/mypy

format: setup ## rewrite the source in the one format that lint accepts
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

integration: setup ## run the slow tests and those that need more than Python, and say what is missing
	@$(BIN)/python -m pytest -m integration $(ARGS)

bench: setup ## measure speed and size (BENCH_DATA=DIR for logs of your own)
	@BENCH_DATA='$(BENCH_DATA)' $(BIN)/python -m tests.bench $(ARGS)

setup: $(INSTALLED) ## make .venv, if it is not there or requirements.lock has changed

# The copy of the lock in .venv says what is installed: a checkout that only touched the file installs nothing.
$(INSTALLED): requirements.lock
	@if cmp -s $< $@ && $(BIN)/python -c '' 2>/dev/null; then touch $@; exit 0; fi; \
	found=; \
	for candidate in $(PYTHON) python3.13 python3.12 python3.11 python3.14 python3; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'setup: this needs Python 3.11 or newer, and none is on the PATH (make setup PYTHON=/path/to/python3)' >&2; exit 1; \
	fi; \
	echo "setup: $$($$found --version), installing requirements.lock into $(VENV)" >&2; \
	if ! $$found -m venv --clear $(VENV); then \
	  echo "setup: $$found has no working venv module; on Debian and Ubuntu it is the package python3-venv" >&2; exit 1; \
	fi; \
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary :all: -r $< && \
	$(BIN)/python -m transforms.audit.rows.kernels && cp $< $@

# Google's client is kept apart: Beam imports it where it is installed, and every run would start 0.1 seconds later.
lock: ## resolve requirements.lock anew from pyproject.toml, and what the Pub/Sub tests add to it (needs uv)
	@$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements.lock
	@$(COMPILE) --extra pubsub --constraints requirements.lock pyproject.toml \
	  | awk '{name = $$1; sub(/==.*/, "", name)} NR == FNR {held[name]; next} /^[a-z]/ {wanted = !(name in held)} wanted' requirements.lock - \
	  > tests/integration/pubsub/requirements.lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
