# make demo [COURSE=directory or .tar.gz]   export a course and watch it in the terminal
# make test                                 run the tests that need no service
# make bench [SCALE=0.1] [ROWS="..."]       measure the cost; needs PostgreSQL and Redis
# make lint                                 check style, types and imports
# make clean                                delete the virtual environment

VENV := .venv
PYTHON := $(VENV)/bin/python
# One process for each processor; all tests of a file run in the same one.
PYTEST := $(PYTHON) -m pytest -n auto --dist loadfile

.PHONY: demo test bench lint clean

demo: $(VENV)/.demo
	$(PYTHON) example_project/manage.py demo $(if $(COURSE),--course "$(COURSE)")

test: $(VENV)/.test
	$(PYTEST)
	$(PYTEST) --ds tests.moving.settings tests/moving

bench: $(VENV)/.bench
	$(PYTHON) -m benchmarks --scale $(or $(SCALE),1) $(ROWS)

lint: $(VENV)/.lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV)

# Use the newest Python that this project is tested with and that can make virtual environments.
# Each is run first, because a command of that name may exist and not work (pyenv's shims).
$(PYTHON):
	@for python in python3.13 python3.12 python3.11 python3; do \
	    if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	        >/dev/null 2>&1; then \
	        echo "Making $(VENV) with $$($$python --version)"; \
	        $$python -m venv $(VENV) && exec $(PYTHON) -m pip install --quiet --upgrade pip; \
	        exit 1; \
	    fi; \
	done; \
	echo "No Python 3.11 or newer with venv was found (python3.13, 3.12, 3.11, python3)." >&2; \
	exit 1

$(VENV)/.demo: pyproject.toml | $(PYTHON)
	$(PYTHON) -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(PYTHON)
	$(PYTHON) -m pip install --quiet --editable '.[demo,filters,openapi,rules]' --group test
	@touch $@

$(VENV)/.lint: pyproject.toml | $(PYTHON)
	$(PYTHON) -m pip install --quiet --editable '.[demo,filters,openapi,rules]' --group lint
	@touch $@

$(VENV)/.bench: pyproject.toml | $(PYTHON)
	$(PYTHON) -m pip install --quiet --editable '.[demo,filters,postgres,redis]' --group bench
	@touch $@
