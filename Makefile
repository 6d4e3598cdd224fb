# Stormconsole from a bare checkout: Python 3.11+ and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
READY := $(VENV)/.ready
ARGS ?=
JOBS ?= 2

# Packages are installed uncompiled (see below): the first import of a module keeps the result, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test fuzz faults hostile audit mutations lint bench drill screenshots manage clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: $(RUNTIME) ## start the whole console (PORT, STORMCONSOLE_DATA_DIR, KUBECONFIG, DATABASE_URL, REDIS_URL), Ctrl-C stops it
	@exec $(BIN)/python -m stormconsole.run

test: $(READY) ## run the tests (ARGS="tests/storms -k lua"; JOBS=0: one process; REQUIRE_ALL=1: a skip is a failure)
	@$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

fuzz: $(READY) ## what atheris, hypothesis and schemathesis make up, other inputs than in `make test` and more (FUZZ=50: how many times)
	@$(BIN)/python -m tests.faults.payloads
	@FUZZ=$(or $(FUZZ),20) $(BIN)/pytest -n $(JOBS) -m hypothesis $(ARGS)

faults: $(READY) ## hurt a console in every way under load, 20 times each, and reconcile (ARGS="--only valkey --runs 3", an hour in full)
	@$(BIN)/python -m tests.faults $(ARGS)

hostile: $(READY) ## five minutes of senders that mean harm, and the memory of the web process (ARGS="--minutes 1")
	@$(BIN)/python -m tests.faults.hostile $(ARGS)

audit: $(READY) ## known weaknesses of what is installed; says so where no advisory service is reached
	@$(BIN)/python -m tests.audit

mutations: $(READY) ## break each invariant in a copy of the tree and see a test turn red (ARGS="04")
	@$(BIN)/python -m tests.faults.mutations $(ARGS)

# The checks of a deployment need settings, but no server behind them.
DEPLOYED := SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))') HTTPS=true \
	ALLOWED_HOSTS=console.example PUBLIC_URL=https://console.example DATABASE_URL=postgresql://nobody@127.0.0.1:1/none

lint: $(READY) ## ruff, bandit, mypy, import contracts, missing migrations, deployment checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit -c pyproject.toml -q -ll -r stormconsole ingestion storms
	$(DEPLOYED) $(BIN)/mypy
	$(DEPLOYED) $(BIN)/lint-imports
	$(DEPLOYED) $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(DEPLOYED) $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(READY) ## measure webhooks per second on this machine
	@$(BIN)/python -m tests.bench $(ARGS)

drill: $(RUNTIME) ## send a storm to the running console and reconcile (ARGS="--alerts 500 --seconds 10 --clients 8")
	@$(BIN)/python -m stormconsole.run manage drill $(ARGS)

screenshots: $(READY) ## take the README's pictures anew, of a console that it starts and stops (needs Chromium)
	@$(BIN)/python -m tests.screenshots

manage: $(RUNTIME) ## manage.py with the settings of the running console (ARGS="create_receiver NAME --kind alertmanager")
	@$(BIN)/python -m stormconsole.run manage $(ARGS)

clean: ## remove the virtual environment and caches, never the data
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis staticfiles
	find . -name __pycache__ -not -path './.data/*' -prune -exec rm -rf {} +

# Two steps, so that `make run` waits only for what runs. Not compiled beforehand: most modules are never imported.
# uv where it is installed: the same packages, sooner.
define install
	@if command -v uv >/dev/null; then \
		uv pip install --quiet --python $(BIN)/python -r $(1); \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r $(1); \
	fi
endef

$(RUNTIME): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stormconsole needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "Installing what requirements.txt names for running into $(VENV) (once, and after a change)"
	@if command -v uv >/dev/null; then test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); \
		else test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); fi
	@sed '/^# Development/,$$d' requirements.txt > $(VENV)/runtime.txt
	$(call install,$(VENV)/runtime.txt)
	@touch $@

$(READY): $(RUNTIME)
	@echo "Installing what it names for tests and checks"
	$(call install,requirements.txt)
	@touch $@
