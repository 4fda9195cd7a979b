PYTHON ?= python3.11
VENV ?= .venv
RUN = $(VENV)/bin/
INSTALLED = $(VENV)/.installed
PACKAGES = -e .[cli,dev] $(patsubst %/pyproject.toml,-e %,$(wildcard plugins/*/pyproject.toml))

.PHONY: demo test test-all lint bench clean

demo: $(INSTALLED)
	$(RUN)aiotrack demo

test: lint
	$(RUN)python -m pytest

lint: $(INSTALLED)
	$(RUN)ruff check
	$(RUN)ruff format --check
	$(RUN)mypy
	$(RUN)pyright

# The floor of the supported versions is what `test` runs on; this adds the others that are here.
test-all: test
	@for version in 3.12 3.13; do \
		python=$$(command -v python$$version && python$$version --version >/dev/null 2>&1 || ls $$HOME/.pyenv/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
		if [ -n "$$python" ] && $$python --version; then \
			$(MAKE) --no-print-directory PYTHON=$$python VENV=.venv-$$version pytest || exit 1; \
		else echo "python$$version is not here: left out"; fi; \
	done

.PHONY: pytest
pytest: $(INSTALLED)
	$(RUN)python -m pytest

bench: $(INSTALLED)
	$(RUN)python -m benchmarks

$(INSTALLED): pyproject.toml $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(RUN)python -m pip install --quiet $(PACKAGES)
	touch $@

clean:
	rm -rf .venv .venv-* build dist *.egg-info aiotrack-demo.db*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
