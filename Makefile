# The project's commands; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
IMAGE ?= simplenet-sagemaker
BASE_IMAGE ?= python:3.11-slim-bookworm
# torch's CPU build, as in container/Dockerfile.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
PIP := $(BIN)/pip install --disable-pip-version-check
SCRIPTS = $(shell git grep --untracked -lE '^\#!(/usr)?/bin/(env )?(ba)?sh' | grep -v '\.md$$')
# An extra is named where it is meant, or pip finds a second, unpinned requirement beside the first.
# `make lock UPGRADE=` keeps the pins, and adds what an .in file asks for besides. torch has its pin,
# and no hash, in container/requirements-torch.txt.
UPGRADE := --upgrade
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header --generate-hashes --no-strip-extras --no-emit-package torch $(UPGRADE)

LOCKS := requirements-dev.txt requirements-mutants.txt container/requirements.txt container/requirements-torch.txt \
  client/requirements.txt client/requirements-cloud.txt
# Known vulnerabilities that are accepted, each with its reason above: --ignore-vuln ID
AUDIT ?=
# How much of `container` and of `client` the tests must reach, branches included, in percent.
REACHED := 95
# In how many processes `make test` tests. Two suit two processors; with more processes than there
# are of those, some tests would wait too long.
PROCESSES ?= 2
# What `make mutants` changes, such as simplenet.table.*; by default all, going on where it was ended.
MUTANTS ?=

.PHONY: help demo image cloud test mutants check bench sbom licences format lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s%s\n", $$1, $$2}' Makefile

demo: .venv/client ## the whole story: data, image, training, serving, evaluation, pictures
	@$(BIN)/python -m client demo --image $(IMAGE)

image: ## build the image, and say how much it adds to its base
	@docker image inspect $(BASE_IMAGE) >/dev/null 2>&1 || docker pull $(BASE_IMAGE)
	docker build --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg TORCH_INDEX=$(TORCH_INDEX) --tag $(IMAGE) container
	@docker image inspect --format '{{.Size}}' $(IMAGE) $(BASE_IMAGE) | \
	  awk '{size[NR] = $$1} END {printf "%s: %.2f GB, of which %.2f GB above its base (at most 1.00)\n", "$(IMAGE)", size[1] / 1e9, (size[1] - size[2]) / 1e9; exit size[1] - size[2] > 1e9}'

cloud: .venv/cloud ## install what the client's SageMaker commands need, and list them
	@$(BIN)/python -m client --help

test: .venv/dev ## every test, and how much of the code they reach; those of the image need Docker
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(PROCESSES) --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	@least=$(REACHED); docker info >/dev/null 2>&1 || { least=0; echo "Without Docker many tests were skipped: nothing is asked of these numbers."; }; \
	for part in container client; do \
	  $(BIN)/coverage report --format=total --fail-under=$$least --include="$$part/*" | sed "s|.*|$$part: & % of lines and branches (at least $$least)|"; \
	done

mutants: .venv/mutants ## change the code of the image in small ways; say which changes no test notices
	@mkdir -p .mutants_cache && ln -sfn ../container/simplenet ../container ../docs ../tests ../pyproject.toml .mutants_cache
	@cd .mutants_cache && ../$(BIN)/mutmut run $(MUTANTS)

check: .venv/dev ## lint, format, types, imports, shell scripts, Dockerfile, known vulnerabilities
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=container:local_test:. $(BIN)/lint-imports
	$(BIN)/shellcheck $(SCRIPTS)
	$(BIN)/shfmt --diff $(SCRIPTS)
	$(BIN)/hadolint container/Dockerfile
	$(BIN)/python supply/audit.py $(AUDIT) $(LOCKS)

bench: .venv/dev .venv-peers/all image ## measure: ratios with their bars, into benchmarks/RESULTS.md
	PYTHONPATH=container IMAGE=$(IMAGE) $(BIN)/python -m benchmarks

sbom: ## list what is in the image, as CycloneDX JSON in sbom.cdx.json
	@supply/sbom.sh $(IMAGE) > sbom.cdx.json || { rm sbom.cdx.json; exit 1; }

licences: sbom ## write docs/licences.md, the licences of the Python packages in the image
	$(PYTHON) supply/licences.py < sbom.cdx.json > docs/licences.md

format: .venv/dev ## write the code as `make check` wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/shfmt --write $(SCRIPTS)

lock: .venv/dev ## pin the newest versions of all dependencies, with their hashes
	$(LOCK) requirements-dev.in -o requirements-dev.txt
	for part in requirements-mutants container/requirements client/requirements client/requirements-cloud; do \
	  $(LOCK) $$part.in -c requirements-dev.txt -o $$part.txt; \
	done
	$(LOCK) benchmarks/requirements-peers.in -o benchmarks/requirements-peers.txt

client/hyperparameters.json: container/simplenet/hyperparameters.py
	PYTHONPATH=container $(PYTHON) -c 'from simplenet.hyperparameters import json_table; print(json_table(), end="")' > $@

# Neither data/, which may be yours, nor sagemaker_local/, the models that local mode trained.
clean: ## remove what these commands made here: environments, caches, outputs
	rm -rf .venv .venv-peers demo_output notebook_output run_output transform_output sbom.cdx.json .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* .mutants_cache .import_linter_cache
	rm -rf local_test/opt_ml/model local_test/opt_ml/output local_test/opt_ml/checkpoints

.venv:
	@$(PYTHON) -c 'import sys, tarfile; sys.exit(not (sys.version_info >= (3, 10) and hasattr(tarfile, "data_filter")) and f"Python is {sys.version.split()[0]}; expected 3.10.12, 3.11.4, 3.12 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "no virtual environment: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

.venv/client: client/requirements.txt | .venv
	$(PIP) --require-hashes --requirement $<
	@touch $@

.venv/cloud: client/requirements-cloud.txt | .venv
	$(PIP) --require-hashes --requirement $<
	@touch $@

# torch alone comes from the index of its CPU builds, and first: then it is what the rest asks for.
.venv/torch: container/requirements-torch.txt | .venv
	$(PIP) --no-deps --extra-index-url $(TORCH_INDEX) --requirement $<
	@touch $@

# What torch asks for is there by the second step, unless this is a CUDA build: then the third brings
# its libraries, in the versions that torch itself names.
.venv/container: container/requirements.txt .venv/torch
	$(PIP) --require-hashes --requirement $<
	$(PIP) --requirement container/requirements-torch.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/torch
	$(PIP) --require-hashes --requirement $<
	$(PIP) --requirement container/requirements-torch.txt
	@touch $@

.venv-peers/all: benchmarks/requirements-peers.txt container/requirements-torch.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --disable-pip-version-check --no-deps --extra-index-url $(TORCH_INDEX) --requirement container/requirements-torch.txt
	.venv-peers/bin/pip install --disable-pip-version-check --require-hashes --requirement $<
	.venv-peers/bin/pip install --disable-pip-version-check --requirement container/requirements-torch.txt
	@touch $@

.venv/mutants: requirements-mutants.txt .venv/dev
	$(PIP) --require-hashes --requirement $<
	@touch $@
