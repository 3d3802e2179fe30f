# `make up` starts everything; `make test` checks everything. Both install what is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PY := .venv/bin/python
UV = $(shell bash tools/find_uv.sh)
PYTHON_VERSION ?= 3.11
RERUN := --reruns 2 --reruns-delay 2
export OMP_NUM_THREADS ?= 1

.PHONY: help up env env-ls system test test-slow lint test-unit test-integration test-e2e test-docker bench lock docs clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

up: env env-ls ## start Redis, Label Studio, backend and workers; SCENE=path.tif takes your own raster
	@$(PY) -m geolabel up $(if $(SCENE),--scene "$(SCENE)") $(ARGS)

env: .venv/.ready ## build .venv (GeoLabel and its tests)

env-ls: .venv-ls/.ready ## build .venv-ls (Label Studio)

.venv/.ready: requirements/dev.txt pyproject.toml
	@bash tools/build_env.sh .venv requirements/dev.txt $(PYTHON_VERSION)
	@$(UV) pip install -q --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

.venv-ls/.ready: requirements/labelstudio.txt
	@bash tools/build_env.sh .venv-ls requirements/labelstudio.txt $(PYTHON_VERSION)
	@touch $@

system: ## install the system packages that tests need, where they are absent
	@bash tools/system_packages.sh

lint: env ## ruff, mypy --strict, import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

test-unit: env ## no files, no sockets
	@$(PY) -m pytest tests/unit tests/contract $(ARGS)

test-integration: env env-ls ## a real Label Studio, Redis, workers
	@$(PY) -m pytest tests/integration $(RERUN) $(ARGS)

test-e2e: env env-ls system ## a real browser
	@$(PY) -m pytest tests/e2e $(RERUN) $(ARGS)

test-docker: env ## build the images and start the compose file (needs root, takes minutes)
	@$(PY) -m pytest tests/docker -m docker $(ARGS)

test-slow: env env-ls ## what takes minutes each: killed workers against a calm run, the largest models
	@$(PY) -m pytest tests/integration tests/e2e -m slow $(RERUN) $(ARGS)

test: system env env-ls lint ## everything that must pass (test-slow and test-docker aside)
	@$(PY) -m pytest tests/unit tests/contract $(ARGS)
	@$(PY) -m pytest tests/integration tests/e2e -m "not slow" $(RERUN) $(ARGS)

bench: env ## every benchmark, results as JSON in bench-output/
	@for path in bench/*/__main__.py bench/[a-z]*.py; do \
	  [ -f "$$path" ] || continue; \
	  module=$${path%.py}; module=$${module%/__main__}; \
	  grep -q __main__ "$$path" || continue; \
	  echo "== $${module//\//.}"; nice -n 5 $(PY) -m "$${module//\//.}" || exit 1; \
	done

lock: ## compile the locks again
	@bash tools/lock.sh

docs: env ## write the generated pages again
	@$(PY) -m geolabel.local.settings_page docs/settings.md

clean: ## remove the environments and caches (not .geolabel, where your labels are)
	rm -rf .venv .venv-ls .cache
