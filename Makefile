# The project's vocabulary: each verb below installs what it needs into .venv and target/, and nothing else.
# Needed beforehand: Rust (cargo, rustfmt, clippy), CPython 3.11 or newer with venv, and make.
#
#   PYTHON=python3.13 make test     another interpreter (.venv is remade for it)
#   PROFILE=quick make test         a wheel that compiles faster and runs slower
#   PYTHONS="python3.12 …" make test-all

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13 python3.14 python3.14t
PROFILE ?= release
VENV ?= .venv
SCORE := .venvs/scoreboard
FLOOR := .venvs/langchain-floor
CEILING := .venvs/langchain-ceiling
PEERS := .venvs/peers
BENCH := .venvs/bench
TARGET := $(or $(CARGO_TARGET_DIR),target)
PY := $(abspath $(VENV))/bin/python
CORE := --locked --no-default-features

# "3.11.7", or "3.14.0t" without the GIL; empty if PYTHON is missing or too old, which `venv` then explains.
VERSION_OF = import platform, sys, sysconfig, venv, ensurepip; \
	sys.exit(1) if sys.version_info < (3, 11) or platform.python_implementation() != "CPython" else \
	print(platform.python_version() + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""))
PYVERSION := $(shell $(PYTHON) -c '$(VERSION_OF)' 2>/dev/null)

WHEELS := $(TARGET)/wheels/$(PROFILE)-$(PYVERSION)
# Stamps: when each was made is when the thing it stands for was last brought up to date.
MADE := $(VENV)/.made-with-$(PYVERSION)
BUILDER := $(VENV)/.has-builder
TOOLS := $(VENV)/.has-tools
BUILT := $(WHEELS)/.built
INSTALLED := $(VENV)/.has-$(PROFILE)-wheel
DENY := $(TARGET)/tools/bin/cargo-deny
INTEGRATED := $(VENV)/.has-$(PROFILE)-wheel-with-all

# Folders too: their time changes when a file goes away.
CRATE := Cargo.toml Cargo.lock build.rs tools/notices.py $(shell find src -type d -o -name '*.rs')
PACKAGE := pyproject.toml README.md LICENSE-MIT LICENSE-APACHE \
	$(shell find python -not -path '*/__pycache__*' -not -name '*.so')
INTO := python -m pip --disable-pip-version-check install --quiet
LANGCHAIN := $(addprefix tests/python/integrations/test_,agents.py completion_langchain.py *chat_model.py langchain_parts.py langchain_runs.py \
	middleware.py provider_settings.py runnable_paths.py standard_*.py truncation.py)
LANGCHAIN_TESTS := 'hypothesis>=6.170,<7' 'langchain-tests>=1.1,<2' 'pytest>=9.2,<10' 'pytest-asyncio>=1.5,<2' \
	'pytest-timeout>=2.4,<3'
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

# PyO3 must look at the interpreter the wheel is for.
export PYO3_PYTHON := $(PY)
export CARGO_TERM_PROGRESS_WHEN := never

## setup: make .venv with every tool the other verbs use
.PHONY: setup
setup: $(TOOLS)

## demo: build the wheel and run the tour: a chain of models that survives a killed provider
.PHONY: demo
demo: $(INSTALLED)
	$(VENV)/bin/holdfast demo

## search: a search engine of worker processes, which are killed under load, and no query fails (BALANCER=least_connections)
.PHONY: search
search: $(INTEGRATED)
	cd examples && $(PY) -m search_engine --balancer $(or $(BALANCER),round_robin)

## predict: run the /predict service of examples/ over models that fail, and print what clients see
.PHONY: predict
predict: $(INTEGRATED)
	cd examples && $(PY) -m predict_service.drive

## build: build the wheel and install it into .venv
.PHONY: build
build: $(INSTALLED)

## test: everything that must hold, fastest failures first
.PHONY: test
test: rust-fmt test-core python-lint clippy mypy pyright stubtest test-python

## test-core: the Rust tests, without an interpreter
.PHONY: test-core
test-core:
	cargo test $(CORE)

## test-python: the Python tests, against the installed wheel
.PHONY: test-python
test-python: $(INTEGRATED)
	$(PY) -P -m pytest $(PYTEST)

## test-all: the wheel and its tests on every interpreter of PYTHONS that runs
.PHONY: test-all
test-all:
	@tested=""; absent=""; \
	for python in $(PYTHONS); do \
		if version=$$($$python -c '$(VERSION_OF)' 2>/dev/null); then \
			echo "== $$python is $$version"; \
			$(MAKE) --no-print-directory test-python PYTHON=$$python VENV=.venvs/$$version; \
			tested="$$tested $$version"; \
		else \
			absent="$$absent $$python"; \
		fi; \
	done; \
	echo "tested:$${tested:- none}"; echo "not found, or not able to run:$${absent:- none}"; \
	[ -n "$$tested" ]

## lint: formatting and lints of both languages
.PHONY: lint rust-fmt clippy python-lint
lint: rust-fmt python-lint clippy

rust-fmt:
	@cargo fmt --version >/dev/null 2>&1 || { echo "rustfmt is missing: rustup component add rustfmt"; exit 1; }
	cargo fmt --check

clippy: $(MADE)
	@cargo clippy --version >/dev/null 2>&1 || { echo "clippy is missing: rustup component add clippy"; exit 1; }
	cargo clippy $(CORE) --all-targets -- -D warnings
	cargo clippy --locked --all-targets -- -D warnings

python-lint: $(TOOLS)
	$(PY) -m ruff check
	$(PY) -m ruff format --check

## fmt: format both languages and mend what the linters can mend
.PHONY: fmt
fmt: $(TOOLS)
	cargo fmt
	$(PY) -m ruff check --fix-only --quiet
	$(PY) -m ruff format --quiet

## types: the types of the package, of its users, and of the native module
.PHONY: types mypy pyright stubtest
types: mypy pyright stubtest

mypy: $(TOOLS)
	$(PY) -m mypy python/holdfast $(wildcard tests/python/typing) $(wildcard examples/*.py examples/*/__main__.py examples/*/drive.py)

pyright: $(TOOLS)
	$(PY) -m basedpyright --pythonpath $(PY)

# From a folder that is not the tree, so that it compares the stub and the module of the installed wheel.
# stubtest finds nothing wrong with a stub that is missing, so that is asked first.
stubtest: $(INTEGRATED)
	@ls $(VENV)/lib/python*/site-packages/holdfast/{_native.pyi,py.typed}
	cd $(VENV) && $(PY) -P -m mypy.stubtest holdfast._native

## bench: the benchmarks of both languages, and the budget table beside the peers (BUDGET=--only=async for some)
.PHONY: bench
bench: $(INTEGRATED)
	$(if $(wildcard benches/*.rs),cargo bench $(CORE))
	for bench in $(wildcard benches/python/*.py); do $(PY) -P $$bench; done
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet -r benches/budget/requirements.txt
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	$(BENCH)/bin/python -P benches/budget $(BUDGET)

## docs: these pages as HTML into reports/docs; every warning is an error
.PHONY: docs
docs: $(INTEGRATED)
	$(PIP) --group docs
	$(PY) -P -m sphinx --fail-on-warning --keep-going --quiet --builder html docs reports/docs
	@echo "reports/docs/index.html"

## bench-peers: what a pick costs, beside LiteLLM's router in the same run
.PHONY: bench-peers
bench-peers: $(BUILT)
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet -r benches/peers/requirements.txt
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	$(PEERS)/bin/python -P benches/peers/pick.py

## package: the wheel and the sdist, installed into empty environments as users would, with each extra
.PHONY: package
package: $(BUILT)
	rm -rf reports/sdist
	$(PY) -m maturin sdist --out reports/sdist
	$(PY) tools/try_package.py $(WHEELS)/*.whl reports/sdist/*.tar.gz

## picture: plays the tour and draws it: docs/pictures/tour.svg
.PHONY: picture
picture: $(INSTALLED)
	$(VENV)/bin/holdfast demo --json reports/tour.json
	$(PY) tools/picture.py reports/tour.json

## report: overhead, contention, heartbeat, scoreboard and faults, measured now, as one page: reports/report.html
.PHONY: report report-data report-page
report: report-data report-page

# What misses a limit is in the page, and fails its own verb; here the next one goes on.
report-data: $(INTEGRATED)
	cargo bench $(CORE) --bench contention -- --json $(abspath reports)/contention-native.json
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet -r benches/budget/requirements.txt
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	$(BENCH)/bin/python -P benches/budget --json reports/budget.json
	$(BENCH)/bin/python benches/budget/contention.py --json reports/contention.json
	$(PY) -P benches/python/heartbeat_cadence.py --json reports/heartbeat.json
	-$(PY) -P benches/python/langchain_overhead.py --json reports/langchain.json
	-$(MAKE) --no-print-directory scoreboard
	-$(MAKE) --no-print-directory faults

## report-page: the same page from the figures that are there already, and its tables into the README
report-page: $(TOOLS)
	$(PIP) --group report
	$(PY) tools/report reports

## standard-bare: how many of LangChain's standard tests a bare model fails where every second request fails
.PHONY: standard-bare
standard-bare: $(INTEGRATED)
	-HOLDFAST_BARE=1 $(PY) -P -m pytest -q --tb=no tests/python/integrations/test_standard_chat_suites.py \
		-k TestGuardedOnAFlakyServer

## test-langchain-floor: the tests of what is made of LangChain, on the lowest langchain-core that we support
.PHONY: test-langchain-floor
test-langchain-floor: $(BUILT)
	$(PYTHON) -m venv $(FLOOR)
	$(FLOOR)/bin/$(INTO) "$$(echo $(WHEELS)/*.whl)[all]" langchain-core==1.7.0 'langchain>=1.4,<2' $(LANGCHAIN_TESTS)
	$(FLOOR)/bin/$(INTO) --force-reinstall --no-deps $(WHEELS)/*.whl
	$(FLOOR)/bin/python -P -m pytest -q $(wildcard $(LANGCHAIN))

## test-langchain-ceiling: the same on the highest that the index serves
.PHONY: test-langchain-ceiling
# Past pip's resolver: the newest releases ask for a certifi that not every index has yet, which nothing here needs.
test-langchain-ceiling: $(BUILT)
	$(PYTHON) -m venv $(CEILING)
	$(CEILING)/bin/$(INTO) "$$(echo $(WHEELS)/*.whl)[all]" 'langchain>=1.4,<2' $(LANGCHAIN_TESTS)
	$(CEILING)/bin/$(INTO) --upgrade --no-deps langchain langchain-anthropic langchain-core langchain-openai langgraph
	$(CEILING)/bin/$(INTO) --force-reinstall --no-deps $(WHEELS)/*.whl
	$(CEILING)/bin/python -P -m pytest -q $(wildcard $(LANGCHAIN))

## scoreboard: one suite of breaker behaviours, asked of ours and of every breaker on PyPI
.PHONY: scoreboard
scoreboard: $(BUILT)
	$(PYTHON) -m venv $(SCORE)
	$(SCORE)/bin/python -m pip --disable-pip-version-check install --quiet -r benches/scoreboard/requirements.txt
	$(SCORE)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	$(SCORE)/bin/python -P benches/scoreboard

## limits: concurrency and rate limits beside their peers, on the same job in one run
.PHONY: limits
limits: $(BUILT)
	$(PYTHON) -m venv .venvs/limits
	.venvs/limits/bin/python -m pip --disable-pip-version-check install --quiet -r benches/limits/requirements.txt
	.venvs/limits/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	.venvs/limits/bin/python -P benches/limits
	.venvs/limits/bin/python benches/limits/capacity.py

## faults: real clients against every fault, and what each becomes under a guard (FAULTS=--only=stall for some)
.PHONY: faults
faults: $(INTEGRATED)
	$(PIP) -r tests/python/faults/requirements.txt
	cd tests/python && $(PY) -W ignore -m faults.providers
	cd tests/python && $(PY) -W ignore -m faults.matrix --json $(abspath reports)/faults.json $(FAULTS)

## soak: what takes long: ten million calls on every path, calls under faults, forks, exits, random tests with many cases, every interleaving of the atomics, licences
.PHONY: soak
soak: licences $(INTEGRATED)
	$(PY) benches/soak/paths.py
	cd tests/python && $(PY) -m soak.calls
	cd tests/python && $(PY) -m soak.limits
	cd tests/python && $(PY) -m soak.forks
	cd tests/python && $(PY) -m soak.exits
	PROPTEST_CASES=20000 HOLDFAST_CASES=20000 cargo test $(CORE) --release
	$(if $(wildcard tests/rust/loom.rs),LOOM_MAX_PREEMPTIONS=$${LOOM_MAX_PREEMPTIONS:-3} RUSTFLAGS="--cfg loom" \
		cargo test $(CORE) --release --target-dir $(TARGET)/loom --test loom)

## mutants: changes the breaker and its windows one operator at a time and shows what no test notices (hours)
.PHONY: mutants
mutants:
	@cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants
	cargo mutants -f 'src/policy/breaker/*.rs' -f 'src/window/*.rs' $(CORE) --timeout 60 --output $(TARGET) \
		-- --lib --test core -- policy::breaker window breaker_model

## licences: licences and sources of the whole dependency graph (the first run compiles cargo-deny)
.PHONY: licences
licences: $(DENY)
	$(DENY) --all-features check bans licenses sources

## advisories: known vulnerabilities in the dependency graph (fetches the RustSec database from GitHub)
.PHONY: advisories
advisories: $(DENY)
	$(DENY) --all-features check advisories

## all: test, demo and bench
.PHONY: all
all: test demo bench

## clean: remove what the verbs made
.PHONY: clean
clean:
	cargo clean
	rm -rf .venv .venvs reports .mypy_cache .pytest_cache .ruff_cache

## help: this list
.PHONY: help
help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' Makefile | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

$(MADE):
	@$(PYTHON) -c '$(VERSION_OF)' >/dev/null 2>&1 || { \
		echo "Holdfast needs CPython 3.11 or newer with venv and ensurepip; this is what PYTHON=$(PYTHON) says:"; \
		$(PYTHON) --version || true; \
		$(PYTHON) -c 'import venv, ensurepip' || true; \
		echo "Choose another one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --upgrade 'pip>=25.1'
	touch $@

$(DENY):
	cargo install --locked --root $(TARGET)/tools cargo-deny

$(BUILDER): $(MADE) pyproject.toml
	@cargo --version >/dev/null 2>&1 || { echo "cargo is missing: https://rustup.rs"; exit 1; }
	$(PIP) --group build
	touch $@

$(TOOLS): $(BUILDER) pyproject.toml
	$(PIP) --group tools
	touch $@

$(BUILT): $(BUILDER) $(CRATE) $(PACKAGE)
	rm -rf $(WHEELS)
	$(PY) tools/notices.py
	$(PY) -m maturin build --profile $(PROFILE) --interpreter $(PY) --out $(WHEELS)
	touch $@

# Two steps: pip leaves a wheel alone whose version it already has.
$(INSTALLED): $(BUILT)
	$(PIP) "$$(echo $(WHEELS)/*.whl)[openai]"
	$(PIP) --force-reinstall --no-deps $(WHEELS)/*.whl
	rm -f $(VENV)/.has-*-wheel*
	touch $@

$(INTEGRATED): $(INSTALLED) $(TOOLS)
	$(PIP) "$$(echo $(WHEELS)/*.whl)[all]"
	touch $@
