# A clean clone needs no other instruction: `make help`.
SHELL := /bin/bash
BENCH ?=
PYTHON ?=
VENV := .venv
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check chaos chaos-short fuzz schemathesis bench bench-all proto lock migrate clean
.NOTPARALLEL:

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: ## Everything for development, into .venv
	@scripts/setup dev

demo: ## Set up, run the whole story on embedded parts, print the report
	@scripts/setup standalone
	@$(VENV)/bin/hayabin demo

up: ## Set up, start everything on embedded parts and stay; Ctrl-C stops it, the data stays
	@scripts/setup standalone
	@$(VENV)/bin/hayabin up

test: ## All checks and tests (root or sudo: installs RabbitMQ and PostgreSQL from Debian where missing)
	@scripts/test

check: ## The static checks alone
	@scripts/setup dev
	@scripts/check

chaos: ## The promises under faults, all scenarios: about an hour and ten minutes on two cores (root or sudo: installs what is missing from Debian)
	@scripts/debian-packages rabbitmq-server postgresql python3-venv faketime
	@scripts/setup dev
	@$(VENV)/bin/python -m tests.chaos
	@$(VENV)/bin/python -m tests.chaos.mutations

chaos-short: ## The promises under faults, the scenarios that make test runs too
	@scripts/debian-packages rabbitmq-server postgresql python3-venv faketime
	@scripts/setup dev
	@$(VENV)/bin/python -m tests.chaos --short

fuzz: ## A million inputs for each parser of untrusted text; scripts/fuzz --seed N runs them again
	@scripts/fuzz --inputs 1000000

schemathesis: ## Every operation of the API with some hundred made-up requests each (root or sudo: installs PostgreSQL from Debian where missing)
	@scripts/debian-packages postgresql python3-venv
	@scripts/setup dev
	@HAYABIN_SCHEMATHESIS_EXAMPLES=100 $(VENV)/bin/python -m pytest tests/integration/api/test_schemathesis.py --timeout 7200

bench: ## All benchmarks in short, to see that they run; make bench BENCH=NAME runs one whole (pipeline, scale, tracker …)
	@scripts/bench $(or $(BENCH),--short)

bench-all: ## All benchmarks of docs/performance.md, whole: benchmarks/out/ (root or sudo: installs the peers from Debian)
	@scripts/bench

proto: ## Generate hayabin/contracts from proto/
	@scripts/setup dev
	@$(VENV)/bin/python scripts/proto.py

lock: ## Compile requirements/*.txt again from pyproject.toml
	@scripts/setup dev
	@scripts/lock

migrate: ## Bring the database of HAYABIN_DATABASE_URL to the newest schema
	@scripts/setup standalone
	@$(VENV)/bin/python -m hayabin.database.migrate

clean: ## Remove what was made here (.venv, node_modules, caches); .hayabin stays
	@rm -rf $(VENV) node_modules build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
