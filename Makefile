# The commands of this repository; `make help` lists them with their comments.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
UV := $(VENV)/uv/bin/uv
AIRFLOW_PYTHON := $(VENV)/airflow/bin/python
SPARK_PYTHON := $(VENV)/spark/bin/python
APP_PYTHON := $(VENV)/app/bin/python
LINT_BIN := $(VENV)/lint/bin
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)
LOCKS := $(wildcard requirements/*.txt) app/requirements.txt docker/requirements.txt bootstrap/requirements.txt bootstrap/requirements-primary.txt
# uv resolves for 3.11 alone (tool.uv in pyproject.toml) and says so on every line. With that, pip of a newer Python would pass over
# the whole file without a word; without it, it installs the packages or says which of them has nothing for it.
FOR_ANY_PYTHON := "s/python_full_version < '3\.12' and //; s/ and python_full_version < '3\.12'//"

# Of these names only what make is given counts: shells export such names for other things.
given = $(if $(filter command,$(origin $1)),$($1))

export UV_NO_PROGRESS := 1
# Each of Airflow's and Spark's many processes would compile all that it imports: seconds.
unexport PYTHONDONTWRITEBYTECODE

# ---------------------------------------------------------------- commands
.PHONY: demo ui app compose-env bench test test-faults test-live test-long test-spark4 test-compose test-installations lint check infra-check docs audit sbom wheelhouse bundle setup lock clean help

OWN_DATA = $(if $(IMAGES),--images "$(IMAGES)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

demo: setup $(if $(YARN),$(VENV)/.yarn) ## The whole pipeline on this machine (your own data: IMAGES=dir WEIGHTS=file.h5 VARIANCE=0.8; on a YARN of two nodes: YARN=1)
	@$(AIRFLOW_PYTHON) -m demo $(OWN_DATA) $(if $(YARN),--yarn) \
	  $(if $(VARIANCE),--variance "$(VARIANCE)") \
	  $(if $(PARAMS),--params '$(PARAMS)')

ui: setup ## Airflow with its UI on http://localhost:8080 and local AWS beside it, the DAG ready to trigger (IMAGES=, WEIGHTS=, PORT=, ENDPOINT_PORT=; EVENTS=1: uploads start runs; NOTIFY=: a webhook is told of failed runs)
	@$(AIRFLOW_PYTHON) -m demo.ui $(OWN_DATA) $(if $(EVENTS),--events) $(if $(NOTIFY),--notify "$(NOTIFY)") $(if $(PORT),--port "$(PORT)") \
	  $(if $(ENDPOINT_PORT),--endpoint-port "$(ENDPOINT_PORT)")

# The bucket of a running make ui, or another local endpoint; AWS's own needs none of these.
ON_ENDPOINT = AWS_ENDPOINT_URL="$(ENDPOINT)" AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION=eu-west-3

app: $(VENV)/.app ## "Which fruit is this?" on http://localhost:8090, on the results of make demo (RESULTS=s3://bucket; of make ui: ENDPOINT=http://127.0.0.1:5555; PORT=)
	@$(if $(ENDPOINT),$(ON_ENDPOINT)) $(APP_PYTHON) -m app "$(or $(RESULTS),$(if $(ENDPOINT),s3://fruits,demo-output/bucket))" --port $(or $(PORT),8090)

# Ray is the peer of one row, which is skipped where it cannot be installed, and says so.
bench: setup $(if $(findstring lookup,$(ONLY)),$(VENV)/.app) $(if $(filter scale,$(SIZE)),$(VENV)/.yarn) ## The performance figures, as a table and bench-output/bench.json (half an hour; SIZE=small: 5 minutes; some rows: ONLY=cores,peer, and ONLY=inventory,lookup, which are left out otherwise; SIZE=scale: 200,000 images on two YARN nodes)
ifeq ($(SIZE),scale)
	@PYTHONPATH=dev:dags:plugins:. AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING LOCAL_EMR_SPARK_PYTHON="$(CURDIR)/$(SPARK_PYTHON)" LOCAL_EMR_JARS="$(CURDIR)/$(VENV)/jars" \
	  LOCAL_EMR_JAVA_HOME="$(CURDIR)/$(VENV)/java" LOCAL_EMR_YARN_JARS="$(CURDIR)/$(VENV)/yarn-jars" \
	  $(AIRFLOW_PYTHON) -m benchmarks.scale $(if $(IMAGES),--images $(IMAGES)) $(if $(WINDOW),--window $(WINDOW))
else
	@$(MAKE) $(VENV)/.ray || true
	@JAVA_HOME="$(CURDIR)/$(VENV)/java" PYTHONPATH=dev $(SPARK_PYTHON) -m benchmarks --size $(or $(SIZE),full) $(if $(ONLY),--only $(ONLY))
endif

compose-env: ## .env for docker compose: fresh secrets, and the local endpoint or your own AWS account (BUCKET=your-bucket; other ports: PORT=, APP_PORT=, ENDPOINT_PORT=)
	@docker/settings "$(call given,BUCKET)"

test: setup $(VENV)/.app $(if $(YARN),$(VENV)/.yarn) ## The tests, on real Airflow and real Spark; those that take longest have commands of their own below (some: ARGS="-k name"; one side: SIDE=spark, airflow or app; on YARN too: YARN=1, of the jobs alone: YARN=jobs)
	@SIDE=$(SIDE) YARN=$(YARN) dev/run_tests $(ARGS)

FAULTS = FRUITS_TEST_FAULTS=1 FRUITS_TEST_LIVE=1 JAVA_HOME="$(CURDIR)/$(VENV)/java"
# A file stays in one process, as what it starts is started once; slow files are taken first (dev/fault_tests.py). Most of their time is
# waiting for clusters, so that two cores carry four.
AT_ONCE = --quiet --tb=short --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-faults: setup $(VENV)/.yarn ## Every failure of docs/failures.md, injected, and a table of the verdicts: those too that take too long for make test (40 to 60 minutes)
	@rm -f $(VENV)/faults-*.xml
	-@$(FAULTS) $(AIRFLOW_PYTHON) -m pytest $(AT_ONCE) --junitxml=$(VENV)/faults-airflow.xml $$($(AIRFLOW_PYTHON) dev/fault_tests.py airflow) $(ARGS)
	-@$(FAULTS) $(SPARK_PYTHON) -m pytest $(AT_ONCE) --junitxml=$(VENV)/faults-spark.xml $$($(AIRFLOW_PYTHON) dev/fault_tests.py spark) $(ARGS)
	@$(AIRFLOW_PYTHON) dev/fault_tests.py $(if $(ARGS),some,table) $(VENV)/faults-*.xml

test-live: setup ## Airflow's parts apart, on PostgreSQL: uploads that start runs, parts that are killed (15 minutes; needs Debian's postgresql)
	@FRUITS_TEST_LIVE=1 $(AIRFLOW_PYTHON) -m pytest tests/live -v -s $(ARGS)

test-long: setup ## Many whole runs in a row: images of another bucket, in slices, by a new network; thirty that are killed (half an hour)
	@FRUITS_TEST_LONG=1 JAVA_HOME="$(CURDIR)/$(VENV)/java" $(AIRFLOW_PYTHON) -m pytest -m long tests $(ARGS)

test-spark4: setup $(VENV)/.spark4 ## The tests of the jobs on Spark 4.0, that of emr-spark-8.0.0, in an environment of its own
	@SIDE=spark4 dev/run_tests $(ARGS)

test-compose: setup ## docker-compose.yaml, built and run: a DAG run, a scheduler that dies, down and up (10 minutes; needs a Docker engine)
	@$(AIRFLOW_PYTHON) -m pytest tests/docker -rs $(ARGS)

test-installations: setup ## Airflow and the DAG installed into every Python from 3.11 to 3.13 that this machine has (2 minutes, 1 GB of downloads)
	@FRUITS_TEST_INSTALLATIONS=1 $(AIRFLOW_PYTHON) -m pytest tests/dev/test_installations.py -rs $(ARGS)

lint: $(VENV)/.lint ## The checks that need neither environment, in seconds: ruff, shellcheck, yamllint, the house rules
	@dev/check lint

check: setup $(VENV)/.app $(VENV)/.lint $(VENV)/.docs ## What make lint checks, types (mypy), the template, the docs, vulnerabilities
	@dev/check

infra-check: setup ## The AWS account of infra/: the template, its policies, a deployment to the local endpoint, and two runs on it whose calls they allow (4 minutes)
	@$(VENV)/airflow/bin/cfn-lint infra/template.yaml && echo "cfn-lint: infra/template.yaml is sound"
	@$(AIRFLOW_PYTHON) -m pytest -q tests/infra tests/dev/test_policies.py
	@$(AIRFLOW_PYTHON) -m pytest -q tests/dags/test_end_to_end.py -k "first_run or fleets or template"

docs: $(VENV)/.airflow $(VENV)/.docs ## The site of docs/, into site/, and docs/configuration.md from the settings
	@PYTHONPATH=dags $(AIRFLOW_PYTHON) dev/configuration_page.py
	@NO_MKDOCS_2_WARNING=true $(VENV)/docs/bin/mkdocs build --quiet --strict && echo "site/index.html"

audit: $(VENV)/.docs ## Known vulnerabilities in the lock files; says so where the index cannot be asked
	@$(VENV)/docs/bin/python dev/audit.py requirements/*.txt bootstrap/*.txt app/requirements.txt docker/requirements.txt

sbom: setup $(VENV)/.app $(VENV)/.docs ## The bills of materials of Airflow's side, the jobs and the app, into sbom/ (CycloneDX), and their licenses
	@mkdir -p sbom
	@export PYTHONWARNINGS="ignore:The Component this BOM:UserWarning"; \
	for side in airflow spark app; do $(VENV)/docs/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  --of JSON -o sbom/$$side.json $(VENV)/$$side/bin/python; echo "sbom/$$side.json"; done
	@$(VENV)/docs/bin/python dev/licenses.py sbom/airflow.json sbom/spark.json sbom/app.json > sbom/licenses.md && echo "sbom/licenses.md"

ARCHITECTURE = $(or $(call given,ARCH),x86_64)

wheelhouse: $(VENV)/.uv ## The wheels of a cluster's nodes, into wheelhouse/, from any machine (ARCH=x86_64 or aarch64)
	@$(VENV)/uv/bin/python dev/wheelhouse.py $(ARCHITECTURE) wheelhouse/$(ARCHITECTURE)

bundle: $(VENV)/.uv ## What an Airflow such as Amazon MWAA reads from a bucket, into bundle/: dags/, plugins.zip, requirements.txt, startup.sh (settings from ENV=stack.env)
	@$(VENV)/uv/bin/python dev/bundle.py bundle $(if $(call given,ENV),"$(call given,ENV)")

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- set-up: idempotent, silent where nothing changed
setup: $(VENV)/.airflow $(VENV)/.spark $(VENV)/.jars $(VENV)/.classes ## Both environments, a JDK and Spark's S3 jars (the other targets do it when needed)

$(VENV)/.uv: requirements/uv.txt dev/setup
	@dev/setup uv

$(VENV)/.airflow: requirements/airflow.txt local_emr/pyproject.toml $(VENV)/.uv
	@dev/setup environment airflow

$(VENV)/.spark: requirements/spark.txt dev/compile_archives.py $(VENV)/.uv
	@dev/setup environment spark

$(VENV)/.spark4: requirements/spark4.txt dev/compile_archives.py $(VENV)/.uv
	@dev/setup environment spark4

$(VENV)/.app: requirements/app.txt $(VENV)/.uv
	@dev/setup environment app

$(VENV)/.docs: requirements/docs.txt $(VENV)/.uv
	@dev/setup environment docs

$(VENV)/.ray: requirements/ray.txt $(VENV)/.uv
	@dev/setup environment ray

$(VENV)/.lint: requirements/lint.txt $(VENV)/.uv
	@dev/setup environment lint

# An upgrade of the machine's Java may take the folder away that .venv/java leads to.
$(VENV)/.jars: requirements/jars.sha256 $(VENV)/.spark $(VENV)/.airflow $(if $(wildcard $(VENV)/java/bin/java),,no-java)
	@dev/setup jars

.PHONY: no-java
no-java:

$(VENV)/.yarn: requirements/yarn-jars.sha256 $(VENV)/.jars
	@dev/setup yarn

$(VENV)/.classes: $(VENV)/.jars
	@dev/setup classes

lock: $(VENV)/.uv ## Compile the lock files from pyproject.toml (ARGS=--upgrade for newer versions)
	@$(LOCK) --group airflow --group test --group infra --group live --group typing --group build local_emr/pyproject.toml pyproject.toml -o requirements/airflow.txt
	@$(LOCK) --group spark --group test -o requirements/spark.txt
	@$(LOCK) --no-config --group deploy -c requirements/airflow.txt -o docker/requirements.txt  # for newer Pythons too
	@$(LOCK) --group app --group app-test --group test -c requirements/spark.txt -o requirements/app.txt
	@$(LOCK) --group app -c requirements/app.txt -o app/requirements.txt
	@$(LOCK) --group ray -c requirements/spark.txt -o requirements/ray.txt
	@$(LOCK) --group lint -o requirements/lint.txt
	@echo uv | $(LOCK) - -o requirements/uv.txt
	@$(LOCK) --group docs -o requirements/docs.txt
	@$(LOCK) --group node -c requirements/spark.txt -o bootstrap/requirements.txt
	@$(LOCK) --group spark4 --group test -c bootstrap/requirements.txt -o requirements/spark4.txt
	@$(LOCK) --group primary -c requirements/spark.txt -o bootstrap/requirements-primary.txt
	@sed -i.before $(FOR_ANY_PYTHON) $(LOCKS) && rm -f $(LOCKS:=.before)

clean: ## Remove what the targets created, the environments too, but .env
	@rm -rf $(VENV) .airflow demo-output bench-output site sbom wheelhouse bundle .pytest_cache .ruff_cache .mypy_cache
