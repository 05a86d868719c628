# Everything starts here: `make demo` and `make test` set up all they need in $(VENV).
SHELL := /bin/sh
VENV ?= .venv
# The first Python of 3.11 or newer on the PATH; name another with PYTHON=...
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check unit test-vision services format pin-images lock audit sbom clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## virtual environment with everything in it

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; name one with PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## distil the digits teacher through the web API, from upload to score
	$(BIN)/python -m examples.digits.demo

test: $(STAMP) check unit ## everything that must hold before a change lands

check: $(STAMP) ## style, types, arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes, a file in one of them: of one thread each where networks are computed in the test itself.
# Benchmarks that start a service or compare times, and pages, which wait for a browser: one after the other.
TIMED := $(addprefix tests/benchmarks/test_,$(addsuffix .py,abuse api_load busy_machine chaos first_student \
	machine_load public_teachers sse_watchers step_time))
ALONE := tests/dfad_core tests/dfad_client $(filter-out $(TIMED),$(wildcard tests/benchmarks/test_*.py)) tests/benchmarks/engine
WITH_SERVICES := tests/hostile tests/e2e tests/worker tests/app
OTHERS := $(TIMED) $(filter-out $(ALONE) $(WITH_SERVICES) tests/benchmarks tests/vision tests/conftest.py %/__pycache__,$(wildcard tests/*))
unit: $(STAMP) ## tests alone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ALONE); alone=$$?; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/e2e/page $(WITH_SERVICES); services=$$?; \
	$(BIN)/python -m pytest $(OTHERS) tests/e2e/page && exit $$((alone + services))

# Without what they depend on: torch is there, and of its release torchvision's models need no compiled part.
test-vision: $(STAMP) ## compare the catalogue's networks with those of torchvision and timm
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade -c constraints.txt \
		--target $(VENV)/vision torchvision timm
	DFAD_REQUIRE_VISION=1 PYTHONPATH=$(abspath $(VENV))/vision $(BIN)/python -m pytest tests/vision

format: $(STAMP) ## let ruff put the files into shape, and write what is made from others: client, settings page
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/sync_twin.py
	$(BIN)/python tools/client_answers.py
	$(BIN)/python tools/settings_page.py

# The extra `ship`, apart from what the tests run with. Without a way to an index it stays away, and the tools say so.
SHIP := $(VENV)/ship
WITH_SHIP := PATH="$(abspath $(SHIP))/bin:$$PATH"
$(SHIP)/.installed: pyproject.toml constraints.txt | $(STAMP)
	-@$(BIN)/python -m venv $(SHIP) \
		&& $(BIN)/python deploy/requirements.py pyproject.toml ship > $(SHIP)/requirements.txt \
		&& $(SHIP)/bin/python -m pip install -q --disable-pip-version-check --retries 1 -c constraints.txt \
			-r $(SHIP)/requirements.txt && touch $@

lock: $(SHIP)/.installed ## write what the images install, by version and hash; TORCH=cpu=ADDRESS for torch's own index
	$(WITH_SHIP) $(BIN)/python tools/lock_images.py $(if $(TORCH),--torch $(TORCH))

audit: $(SHIP)/.installed ## look up whether what the images install has holes that are known
	$(WITH_SHIP) $(BIN)/python tools/audit_locks.py

sbom: $(SHIP)/.installed ## list what the images install, as a bill of materials
	$(WITH_SHIP) $(BIN)/python tools/sbom.py

pin-images: $(STAMP) ## write the digest of every image beside its tag, asked of its registry
	$(BIN)/python tools/pin_images.py

clean: ## remove the virtual environment and what runs left behind
	rm -rf $(VENV) demo .dfad .mypy_cache .ruff_cache .pytest_cache
