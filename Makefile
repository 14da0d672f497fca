# The same words for people and for CI. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
ORACLES := .venv/.oracles

# Each worker has a PostgreSQL of its own and often waits for it, so three are good for two cores;
# the tests of one file share databases and stay together.
IN_PARALLEL := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo run test test-long check format bench clean

help: ## List these commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

$(INSTALLED): requirements-development.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-development.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

$(ORACLES): $(INSTALLED) requirements-oracles.txt
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-oracles.txt
	@touch $@

install: $(INSTALLED) ## Set up .venv with everything needed.

demo: install ## A recorded day on one shared number, shown in the terminal.
	@$(BIN)/trunkline demo

run: install ## The server, with its own PostgreSQL under .trunkline.
	@$(BIN)/trunkline serve

test: install ## Every test, against a real PostgreSQL.
	@$(BIN)/python -m pytest -m "not long" $(IN_PARALLEL)

test-long: $(ORACLES) ## More seeds, longer campaigns, fuzzing, other people's parsers beside ours.
	@TRUNKLINE_TEST_PROFILE=long $(BIN)/python -m pytest $(IN_PARALLEL)

check: install ## Formatting, lint, types.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: install ## Mend formatting and what lint can mend.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: install ## The benchmarks: one table of ratios, and JSON beside it.
	@$(BIN)/python -m benchmarks

clean: ## Remove what install made.
	rm -rf .venv *.egg-info
