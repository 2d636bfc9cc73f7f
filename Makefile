# The public interface of this repository. `make help` lists the targets from the comments beside them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
UV := $(VENV)/uv/bin/uv
AIRFLOW_PYTHON := $(VENV)/airflow/bin/python
SPARK_PYTHON := $(VENV)/spark/bin/python
LINT_BIN := $(VENV)/lint/bin
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

export UV_NO_PROGRESS := 1

# ---------------------------------------------------------------- what people run
.PHONY: demo ui bench test check setup lock clean help

demo: setup ## The main job end to end on this machine (IMAGES=dir WEIGHTS=file.h5 VARIANCE=0.8 for your own)
	@$(AIRFLOW_PYTHON) -m demo $(if $(IMAGES),--images "$(IMAGES)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(VARIANCE),--variance "$(VARIANCE)") $(if $(PARAMS),--params '$(PARAMS)')

ui: setup ## Airflow with its UI on http://localhost:8080 and local AWS beside it, the DAG ready to trigger
	@$(AIRFLOW_PYTHON) -m demo.ui $(if $(IMAGES),--images "$(IMAGES)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

bench: setup ## The figures of speed, as a table and bench-output/bench.json (25 minutes; SIZE=small: 5)
	@JAVA_HOME="$(CURDIR)/$(VENV)/java" $(SPARK_PYTHON) -m benchmarks --size $(or $(SIZE),full)

test: setup ## Every test, on real Airflow and real Spark (ARGS="-k name" for some)
	@bin/run_tests $(ARGS)

check: setup $(VENV)/.lint ## Lint and types: ruff, mypy, shellcheck, yamllint, the import border
	@bin/check

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- set-up: idempotent, silent where nothing changed
setup: $(VENV)/.airflow $(VENV)/.spark $(VENV)/.jars $(VENV)/.classes ## Both environments, a JDK and Spark's S3 jars (done by every target)

$(VENV)/.uv: requirements/uv.txt bin/setup
	@bin/setup uv

$(VENV)/.airflow: requirements/airflow.txt $(VENV)/.uv
	@bin/setup environment airflow

$(VENV)/.spark: requirements/spark.txt $(VENV)/.uv
	@bin/setup environment spark

$(VENV)/.lint: requirements/lint.txt $(VENV)/.uv
	@bin/setup environment lint

$(VENV)/.jars: requirements/jars.sha256 $(VENV)/.spark $(VENV)/.airflow
	@bin/setup jars

$(VENV)/.classes: $(VENV)/.jars
	@bin/setup classes

lock: $(VENV)/.uv ## Compile the lock files anew from pyproject.toml
	@$(LOCK) --group airflow --group test -o requirements/airflow.txt
	@$(LOCK) --group spark --group test -o requirements/spark.txt
	@$(LOCK) --group lint -o requirements/lint.txt
	@$(LOCK) --group node -c requirements/spark.txt -o bootstrap/requirements.txt
	@$(LOCK) --group primary -c requirements/spark.txt -o bootstrap/requirements-primary.txt

clean: ## Remove what the targets made, the environments too
	@rm -rf $(VENV) .airflow demo-output bench-output .pytest_cache .ruff_cache .mypy_cache
