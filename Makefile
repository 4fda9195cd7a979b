# Python 3.11 is the floor, and the one that is taken where there are several.
PYTHONS = python3.11 python3.12 python3.13 python3.14 python3 python
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for python in $(PYTHONS); do $$python $(NEW_ENOUGH) 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
RUN = $(VENV)/bin/
INSTALLED = $(VENV)/.installed
PLUGINS = $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
PACKAGES = -e .[cli,dev] $(foreach plugin,$(PLUGINS),-e ./$(plugin)[dev])
# The versions that everything was last tried with: what a clone of today needs next year. `make constraints` writes it.
CONSTRAINTS ?= -c constraints.txt

.PHONY: demo test test-all test-lowest ci lint coverage reliability bench constraints clean

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
ci: uwsgi test test-lowest

.PHONY: uwsgi
uwsgi: $(INSTALLED)
	$(RUN)python -m pip install --quiet uwsgi || echo "uWSGI can't be built here: its test is left out"

# With the oldest versions of what aiotrack and its plugins need that they say they work with; the linters are not among them.
test-lowest:
	$(MAKE) --no-print-directory VENV=.venv-lowest .venv-lowest/.lowest
	.venv-lowest/bin/python -m pytest -n 2 --dist worksteal --ignore tests/test_architecture.py

.venv-lowest/.lowest: .venv-lowest/.installed
	.venv-lowest/bin/python tests/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet -r .venv-lowest/lowest.txt
	touch $@

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

$(INSTALLED): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "aiotrack needs Python 3.11 or newer, and none is on the PATH; \
	give one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" $(NEW_ENOUGH) || { echo "aiotrack needs Python 3.11 or newer, and $(PYTHON) is not" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) can make no virtual environment, since \
	its modules venv and ensurepip are not installed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(RUN)python -m pip install --quiet $(CONSTRAINTS) $(PACKAGES)
	touch $@

constraints: $(INSTALLED)
	$(RUN)python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf .venv .venv-* build dist *.egg-info aiotrack-demo.db*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
