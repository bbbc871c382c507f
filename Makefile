# Every target runs with the Python of PYTHON, which has the project and its dev extra installed.
PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help check format test golden docs bench bench-large bench-quick bench-formats accuracy build

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 16

check:  ## what CI runs: formatting, lint, types, import contracts, tests
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
	$(PYTHON) -m pytest

format:  ## format the code, and fix what can be fixed
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:  ## run the tests
	$(PYTHON) -m pytest

golden:  ## rewrite the golden files; read the diff like code
	$(PYTHON) -m pytest --update-golden

docs:  ## write the pages and tables that the code itself knows
	$(PYTHON) docs/generate.py

bench:  ## measure CPU and memory on a million spans, beside other tools and ways to run, and what each format costs
	$(PYTHON) bench/run.py

bench-large:  ## the same, and scaling to five million spans (6 GB of disk, long)
	$(PYTHON) bench/run.py --large

bench-quick:  ## the same on a hundred thousand spans
	$(PYTHON) bench/run.py --quick

bench-formats:  ## measure only what a call costs in each format, beside OTLP JSON
	$(PYTHON) bench/formats.py

accuracy:  ## measure rules, joins, calls and tokens on the labelled corpus
	$(PYTHON) fixtures/lab/accuracy.py --write

build:  ## build the wheel and the source distribution
	$(PYTHON) -m build
