# `make` lists the commands. All of them run in .venv, which is created when it is first needed.

# The first supported Python; set PYTHON to choose another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv/bin
PYTEST := env -u DJANGO_SETTINGS_MODULE $(VENV)/python -m pytest
# Python's variables in the caller's shell (PYTHONSAFEPATH, PYTHONPATH, PYTHONDONTWRITEBYTECODE) are not for our programs.
unexport $(filter PYTHON%,$(.VARIABLES))
# Django's settings require these values, also for mypy's plugin and the OpenAPI document, which use none of them.
WITH_SETTINGS := env DJANGO_SECRET_KEY=none DATABASE_URL=postgresql:///none GATEWAY_TOKEN=none METRICS_TOKEN=none \
	ALERT_TOKEN=none
TYPE_CHECK := $(WITH_SETTINGS) $(VENV)/mypy

COMPILE := $(VENV)/uv pip compile --quiet --universal --python-version 3.11 --no-header --generate-hashes \
	--no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help run load test test-slow check coverage prove drill quiet bench bench-audit verify bench-alerts bench-growth bench-trail bench-instructions bench-velocity lint format reconcile audit backup restore dashboards client kubernetes kubernetes-tools requirements secrets archive clean python environment environment-dev

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: environment ## Run the platform on this machine until Ctrl-C (NO_LOAD=1, LOAD_USERS=5, WEB_CONCURRENCY=3, BASE_PORT=8200, SECOND_GATEWAY=USD, DATABASE_URL)
	@exec $(VENV)/python -m fintech.run

load: environment ## Send requests at a controlled rate to `make run`, report in load_output/ (LOAD="--rps 50 --shape spike", LOAD=--help)
	@$(VENV)/python -m loadtests.run $(LOAD)

test: environment-dev ## Run all tests but the slow ones, two at a time on each core, in random order (TESTS=payments/tests/api)
	$(PYTEST) -n auto -m "not slow" --durations=25 --durations-min=1 $(TESTS)

test-slow: environment-dev ## Run short forms of the slow proofs: drills, kills, hosts, silence; `make prove` runs them in full (TESTS=...)
	$(PYTEST) -n auto -m slow --durations=25 --durations-min=1 $(TESTS)

check: lint ## Lint, and run the tests that start no process beside PostgreSQL (not marked `processes`)
	$(PYTEST) -n auto -q -m "not processes"

coverage: environment-dev ## Run all tests and show which lines and branches they reach, subprocesses included
	$(VENV)/coverage erase
	env -u DJANGO_SETTINGS_MODULE $(VENV)/coverage run -m pytest -n auto -q
	$(VENV)/coverage combine --quiet
	$(VENV)/coverage report

prove: environment-dev ## Prove every promise, and print one page: kills, hosts, silence, all drills, slow tests (over an hour; RESUME=1)
	@exec $(VENV)/python -m loadtests.prove $(if $(RESUME),--resume)

drill: environment-dev ## Inject faults into a platform of its own, and follow their alerts (FAULT=gateway-errors, list or all; SPEED=5; OUT=docs)
	@exec $(VENV)/python -m loadtests.drill $(or $(FAULT),list) $(if $(SPEED),--speed "$(SPEED)") $(if $(OUT),--out "$(OUT)")

quiet: environment-dev ## Count the alerts in ordinary hours, on a platform of its own (HOURS=1, SPEED=20, OUT=docs)
	@exec $(VENV)/python -m loadtests.quiet --hours $(or $(HOURS),1) --speed $(or $(SPEED),20) $(if $(OUT),--out "$(OUT)")

bench: environment-dev ## Measure payments per second in comparison with other stacks (BENCH="--against ../old", BENCH=--help)
	$(VENV)/python -m loadtests.bench $(BENCH)

bench-alerts: environment-dev ## Measure the alert trail, from the webhook to the episode
	$(VENV)/python -m loadtests.bench.alerts

bench-trail: environment-dev ## Measure the trail's pages at ten million episodes (takes minutes and 10 GB)
	$(VENV)/python -m loadtests.bench.trail

bench-instructions: environment-dev ## Count the Python instructions of a payment, which no other load changes
	$(VENV)/python -m loadtests.bench.instructions

bench-velocity: environment-dev ## Measure the cost of velocity rules for a payment; RATE=1000: over HTTP
	$(VENV)/python -m loadtests.bench.velocity $(if $(RATE),--rate $(RATE))

bench-growth: environment-dev ## Measure a database of millions of payments beside an empty one; ROWS=1000000 ARCHIVE=0.5
	$(VENV)/python -m loadtests.bench.growth --rows $(or $(ROWS),20000000) $(if $(ARCHIVE),--archive $(ARCHIVE))

bench-audit: environment-dev ## Measure sealing, and the verification of a million leaves
	$(VENV)/python -m loadtests.bench.sealing

lint: environment-dev ## Check style, format, words, imports and types
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/yamllint --strict docker-compose.yml deploy observability .github .pre-commit-config.yaml
	$(VENV)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(VENV)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV)/python -m fintech.testing.words
	$(VENV)/lint-imports --no-logo pyproject.toml
	$(TYPE_CHECK) .

format: environment-dev ## Format the code
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

reconcile: environment ## Compare the ledger of `make run` with the gateway's record, item by item
	@$(VENV)/python -m fintech.run.manage reconcile

audit: environment ## Check the ledger of `make run` for consistency
	@$(VENV)/python -m fintech.run.manage audit_ledger

archive: environment ## Move the details of payments of `make run` that ended before a date into a file; BEFORE=2026-01-31 TO=FOLDER
	@$(VENV)/python -m fintech.run.manage archive_payments $(if $(BEFORE),--before "$(BEFORE)") $(if $(TO),--to "$(TO)")

verify: environment ## Verify the alert trail of `make run` against its seal
	@$(VENV)/python -m fintech.run.manage verify_audit

backup: environment ## Back up `make run` to var/backups/ or FILE: database, seal and archives of the alert trail, secrets
	@$(VENV)/python -m fintech.run.backup make $(if $(FILE),"$(FILE)")

restore: environment ## Replace the database of `make run` by that of a backup (FILE=var/backups/...)
	@test -n "$(FILE)" || { echo "error: name the backup: make restore FILE=var/backups/..." >&2; exit 1; }
	@$(VENV)/python -m fintech.run.backup restore "$(FILE)"

dashboards: environment-dev ## Generate Grafana's dashboards from observability/dashboards/
	@$(VENV)/python -m observability.dashboards

client: environment-dev ## Build the typed Python client from the OpenAPI document, in var/client/
	@$(WITH_SETTINGS) DJANGO_SETTINGS_MODULE=fintech.settings $(VENV)/python -m payments.client.build var/client

kubernetes: environment-dev ## Generate the PrometheusRules and routes of deploy/kubernetes/ from observability/
	@$(VENV)/python -m observability.kubernetes

# Go embeds no version in a module's programs, and kubectl reads the server's.
kubernetes-tools: ## Build kubectl, kube-apiserver and etcd into var/kubernetes/, for the tests of deploy/kubernetes/ (Go; ten minutes)
	@mkdir -p var/kubernetes
	cd deploy/kubernetes/tools && GOBIN=$(CURDIR)/var/kubernetes go install -trimpath \
		-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes)" tool

requirements: environment-dev ## Compile the pinned requirement files
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) -c requirements.txt requirements-app.in -o requirements-app.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt

secrets: ## Print how to read the passwords and keys of Compose
	@echo "administrator admin:   docker compose run --rm --no-deps migrate cat /run/accounts/admin_password"
	@echo "API key of Demo:       docker compose run --rm --no-deps migrate cat /run/accounts/api_key"
	@echo "Grafana, user admin:   docker compose exec grafana cat /run/secrets/grafana_admin_password"
	@echo "metrics on port 5000:  docker compose exec app cat /run/secrets/metrics_token"
	@echo "alert webhook:         docker compose exec app cat /run/secrets/alert_token"
	@echo "alert trail's keys:    docker compose exec worker cat /var/lib/fintech/audit/public_keys (public; keep a copy elsewhere)"
	@echo "gateway's faults:      docker compose exec gateway cat /run/secrets/gateway_control_token"

clean: ## Remove caches and the virtual environment; data under var/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .import_linter_cache staticfiles
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed: install it, or set PYTHON." >&2; exit 1; }

environment: python ## Create .venv, or update it; the other commands do this themselves
	@$(PYTHON) -m fintech.run.venv requirements.txt

environment-dev: python
	@$(PYTHON) -m fintech.run.venv requirements-dev.txt
