# The project's commands; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
IMAGE ?= simplenet-sagemaker
BUILD_ARGS ?=
# torch's CPU build, as in container/Dockerfile.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: help demo image test check format lock clean

help: ## list the commands
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

demo: .venv/client ## the whole story on this machine: data, image, training, serving, evaluation, pictures
	@docker info >/dev/null 2>&1 || $(MAKE) --no-print-directory .venv/container
	@.venv/bin/python -m client demo --image $(IMAGE)

image: ## build the image and say how large it is
	docker build $(BUILD_ARGS) --tag $(IMAGE) container
	@.ci/image_size $(IMAGE)

test: .venv/dev ## every test; those of the image need a Docker engine
	@.venv/bin/pytest

check: .venv/dev ## lint, format, types, shell scripts, Dockerfile
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/shellcheck $$(git ls-files | xargs -r grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh')
	.venv/bin/shfmt --diff --indent 2 --case-indent $$(git ls-files | xargs -r grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh')
	.venv/bin/hadolint container/Dockerfile

format: .venv/dev ## write the code as `make check` wants it
	.venv/bin/ruff check --fix
	.venv/bin/ruff format
	.venv/bin/shfmt --write --indent 2 --case-indent $$(git ls-files | xargs -r grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh')
