PYTHON ?= python3.11
VENV ?= .venv
RUN = $(VENV)/bin/
INSTALLED = $(VENV)/.installed
PLUGINS = $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
PACKAGES = -e .[cli,dev] $(foreach plugin,$(PLUGINS),-e ./$(plugin)[dev])

.PHONY: demo test test-all ci lint coverage reliability bench clean

demo: $(INSTALLED)
	$(RUN)aiotrack demo

test: lint
	$(RUN)python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(RUN)ruff check
	$(RUN)ruff format --check
	$(RUN)mypy
	$(RUN)pyright
	$(RUN)lint-imports --no-logo

# `test` runs on the floor of the supported versions; this adds the others where an interpreter is at hand.
test-all: test
	@for version in 3.12 3.13; do \
		for python in python$$version $$HOME/.pyenv/versions/$$version.*/bin/python none; do \
			$$python --version >/dev/null 2>&1 && break; \
		done; \
		if [ $$python = none ]; then echo "python$$version is not here: left out"; continue; fi; \
		$(MAKE) --no-print-directory PYTHON=$$python VENV=.venv-$$version pytest || exit 1; \
	done

.PHONY: pytest
pytest: $(INSTALLED)
	$(RUN)python -m pytest -n 2 --dist worksteal

# What CI runs: for now what everybody runs; services, a browser and the compiled build join it here.
ci: uwsgi test oldest

.PHONY: uwsgi
uwsgi: $(INSTALLED)
	$(RUN)python -m pip install --quiet uwsgi || echo "uWSGI can't be built here: its test is left out"

# Answers that break HTTP are read through a part of aiohttp that is not public; the oldest supported one is held to it here.
.PHONY: oldest
oldest:
	$(MAKE) --no-print-directory VENV=.venv-oldest .venv-oldest/.installed
	.venv-oldest/bin/python -m pip install --quiet aiohttp==3.11.0
	.venv-oldest/bin/python -m pytest -n 2 tests/destinations tests/delivery

# Branch coverage of the core by the core's own tests, but for those that measure how long the event loop is held up.
coverage: $(INSTALLED)
	$(RUN)python -m pytest -n 2 --dist worksteal -q tests --deselect tests/reliability/test_deadlines.py --cov --cov-report=term

# The long run: `kill -9` in 60 rounds and more.
reliability: $(INSTALLED)
	RELIABILITY_ROUNDS=60 $(RUN)python -m pytest tests/reliability

# Every benchmark, with the other SDKs; a quarter of an hour. `make bench ARGS="call --rounds 3"` is one table.
bench: $(VENV)/.bench
	$(RUN)python -m benchmarks $(ARGS)

$(VENV)/.bench: $(INSTALLED)
	$(RUN)python -m pip install --quiet -e .[bench]
	touch $@

$(INSTALLED): pyproject.toml $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(RUN)python -m pip install --quiet $(PACKAGES)
	touch $@

clean:
	rm -rf .venv .venv-* build dist *.egg-info aiotrack-demo.db*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
