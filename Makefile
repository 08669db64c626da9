.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

export SAM_CLI_TELEMETRY := 0
export PYTHONPATH := cli:layers/pricing

DEV := .venv
RUNTIME := .venvs/runtime
ENGINE := .venvs/engine
SAM := .venvs/sam
SOURCES := cli functions layers tests benchmarks examples scripts

# Each environment is made once, and again when its pinned list changes.
$(DEV)/.installed: requirements/dev.txt
	@scripts/environment $(DEV) $<
$(RUNTIME)/.installed: requirements/runtime.txt
	@scripts/environment $(RUNTIME) $<
$(ENGINE)/.installed: requirements/engine.txt
	@scripts/environment $(ENGINE) $<
$(SAM)/.installed: requirements/sam.txt
	@scripts/environment $(SAM) $<

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: start
start: $(RUNTIME)/.installed $(ENGINE)/.installed ## Serve both endpoints on this machine, with real usage loaded (ARGS="--help" shows its options)
	@exec $(RUNTIME)/bin/python -m meterstone_cli start $(ARGS)

.PHONY: test
test: $(DEV)/.installed $(ENGINE)/.installed ## Run every test but the deployment's (ARGS="-k tiers" narrows it)
	@$(DEV)/bin/python -m pytest $(ARGS)

.PHONY: lint
lint: $(DEV)/.installed ## Check style, formatting and types
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .
	@$(DEV)/bin/mypy $(foreach folder,$(SOURCES),$(shell find $(folder) -name '*.py' -print -quit 2>/dev/null | grep -q . && echo $(folder)))

.PHONY: bench
bench: $(DEV)/.installed $(ENGINE)/.installed $(SAM)/.installed ## Measure pricing, handlers, cold start, decoding and loading
	@$(DEV)/bin/python -m benchmarks $(ARGS)

.PHONY: clean
clean: ## Remove what was built, and the environments
	rm -rf .aws-sam .venv .venvs .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
