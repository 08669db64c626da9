.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

export SAM_CLI_TELEMETRY := 0
# Where our own code is; not for the SAM command line, which has its own.
CODE := PYTHONPATH=cli:layers/meterstone

DEV := .venv
RUNTIME := .venvs/runtime
ENGINE := .venvs/engine
SAM := .venvs/sam
AUDIT := .venvs/audit
SUPPLY := .venvs/supply
OPENAPI := .venvs/openapi
NODE := .venvs/node
PAGE := .venvs/page
PAGE_NODE := .venvs/page-node
SOURCES := cli functions layers tests benchmarks examples scripts
# A process that has no more tests takes some of another's: tests of one folder may take a hundred times those of another.
PARALLEL := --numprocesses auto --dist worksteal

# Each environment is made once, and again when its pinned list changes.
$(DEV)/.installed: requirements/dev.txt
	@scripts/environment $(DEV) $<
$(RUNTIME)/.installed: requirements/runtime.txt pyproject.toml
	@scripts/environment $(RUNTIME) $< --editable
$(ENGINE)/.installed: requirements/engine.txt
	@scripts/environment $(ENGINE) $<
$(SAM)/.installed: requirements/sam.txt
	@scripts/environment $(SAM) $<
$(AUDIT)/.installed: requirements/audit.txt
	@scripts/environment $(AUDIT) $<
$(SUPPLY)/.installed: requirements/supply.txt
	@scripts/environment $(SUPPLY) $<
$(OPENAPI)/.installed: requirements/openapi.txt
	@scripts/environment $(OPENAPI) $<
$(NODE)/.installed: requirements/node/package-lock.json
	@scripts/environment-node $(NODE) $(<D)
$(PAGE)/.installed: requirements/page.txt
	@scripts/environment $(PAGE) $<
$(PAGE_NODE)/.installed: requirements/page/package-lock.json
	@scripts/environment-node $(PAGE_NODE) $(<D)

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: environments
environments: $(DEV)/.installed $(RUNTIME)/.installed $(ENGINE)/.installed $(SAM)/.installed $(OPENAPI)/.installed $(AUDIT)/.installed $(SUPPLY)/.installed ## Make every environment (the other targets make what they need)

.PHONY: start
start: $(RUNTIME)/.installed $(ENGINE)/.installed ## Serve both endpoints on this machine, with real usage loaded (ARGS="--help" shows its options)
	@exec $(RUNTIME)/bin/meterstone start $(ARGS)

# Rooms that compute from values alone, and their laws.
PURE := $(addprefix layers/meterstone/meterstone/,pricing usage contracts catalogue) tests/unit/pricing tests/unit/usage tests/unit/contracts tests/unit/catalogue tests/unit/edge $(addprefix tests/property/test_,pricing_laws.py calendar_laws.py contract_parsers.py event_parsers.py)

.PHONY: check
check: lint ## Lint, then test what needs no table: pricing, usage, contracts and the catalogue's records, with their laws (half a minute)
	@$(DEV)/bin/python -m pytest $(PARALLEL) -m "not engine and not slow" $(PURE) $(ARGS)

.PHONY: test
test: $(DEV)/.installed $(ENGINE)/.installed $(SAM)/.installed ## Run every test but the deployment's (ARGS="-k tiers" narrows it)
	@$(DEV)/bin/python -m pytest $(PARALLEL) $(ARGS)

.PHONY: test-openapi
test-openapi: $(DEV)/.installed $(ENGINE)/.installed $(OPENAPI)/.installed $(NODE)/.installed ## Read openapi.yaml with the tools that people use (needs Node.js 20 and npm)
	@$(DEV)/bin/python -m pytest -m tools tests/contract/test_tools.py $(ARGS)

.PHONY: test-page
test-page: $(DEV)/.installed $(ENGINE)/.installed $(PAGE)/.installed $(PAGE_NODE)/.installed ## Look at the page in a real browser (needs Chromium, Node.js 20 and npm)
	@scripts/echarts $(PAGE_NODE) --check
	@METERSTONE_PAGE_NODE=$(PAGE_NODE) $(PAGE)/bin/python -m pytest -c tests/page/pytest.ini --rootdir tests/page tests/page $(ARGS)

.PHONY: pictures
pictures: ## Take the pictures of docs/pictures anew
	@METERSTONE_PICTURES=write $(MAKE) test-page ARGS="-k pictures"

.PHONY: echarts
echarts: $(PAGE_NODE)/.installed ## Build the page's chart library from its npm package (needs Node.js 20 and npm)
	@scripts/echarts $(PAGE_NODE)

# None is found, so that a test that needs an engine without its marker fails here.
.PHONY: test-without-engine
test-without-engine: $(DEV)/.installed $(SAM)/.installed ## Run every test that needs no engine, with none to be found
	@METERSTONE_ENGINE=/nonexistent $(DEV)/bin/python -m pytest $(PARALLEL) -m "not engine and not tools and not deploy" $(ARGS)

.PHONY: check-wheel
check-wheel: ## Install the command in an environment of its own, and serve with it once
	@scripts/check-wheel

.PHONY: prove
prove: $(DEV)/.installed $(ENGINE)/.installed ## Run the long proofs of counting, also on a table that fails and with processes killed, and fifty times as many examples (ARGS="-m long" leaves those out)
	@HYPOTHESIS_PROFILE=deep $(DEV)/bin/python -m pytest $(PARALLEL) tests/property tests/store/test_long_run_on_engines.py tests/faults $(ARGS)

.PHONY: mutate
mutate: $(DEV)/.installed ## Change the code in small ways and say which changes no test notices (ARGS="--help" shows its options)
	@$(DEV)/bin/python scripts/mutate.py $(ARGS)

.PHONY: lint
lint: $(DEV)/.installed $(SAM)/.installed ## Check style, formatting, types, that no room imports one above it, the templates and the workflow
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .
	@$(DEV)/bin/mypy $(foreach folder,$(SOURCES),$(shell find $(folder) -name '*.py' -print -quit 2>/dev/null | grep -q . && echo $(folder)))
	@$(CODE) $(DEV)/bin/lint-imports --no-logo --no-cache
	@$(SAM)/bin/cfn-lint template.yaml bootstrap.yaml
	@$(DEV)/bin/zizmor --offline --no-progress --quiet --strict-collection --persona pedantic .github

.PHONY: audit
audit: $(AUDIT)/.installed ## Look for weaknesses in the templates (checkov; .checkov.yaml has the exceptions)
	@$(AUDIT)/bin/checkov --config-file .checkov.yaml --file template.yaml bootstrap.yaml

# Asks PyPI for each pinned version. A package that cannot be asked about fails it, too.
.PHONY: audit-dependencies
audit-dependencies: $(SUPPLY)/.installed ## Look for known weaknesses of the pinned packages (pip-audit; needs the internet)
	@$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
		$(addprefix --requirement ,$(wildcard requirements/*.txt) layers/meterstone/requirements.txt functions/manage_catalogue/requirements.txt functions/recount_usage/requirements.txt)

.PHONY: catalogue-reference
catalogue-reference: $(DEV)/.installed ## Write docs/catalogue.md and the JSON Schemas beside it from the catalogue's models
	@$(CODE) $(DEV)/bin/python scripts/catalogue_reference.py

.PHONY: bench
bench: $(DEV)/.installed $(ENGINE)/.installed $(SAM)/.installed ## Measure pricing, handlers, cold start, decoding and loading (ARGS="pricing read" for some)
	@$(CODE):tests:scripts $(DEV)/bin/python -m benchmarks $(ARGS)

# The key goes by the environment: a command's arguments can be seen by every user of the machine.
.PHONY: soak
soak: $(DEV)/.installed $(ENGINE)/.installed ## Read and post for ten minutes and account for every event (MINUTES=60; URL=https://… KEY=… RATE=20 for a deployed address)
	@METERSTONE_API_KEY='$(KEY)' $(DEV)/bin/python scripts/soak.py --minutes $(or $(MINUTES),10) $(if $(URL),--url '$(URL)') $(if $(RATE),--rate $(RATE)) $(ARGS)

# `sam` looks for python3.13 on PATH and takes no shim: its own environment has a real one.
WITH_SAM := PATH="$(CURDIR)/$(SAM)/bin:$$PATH" sam

.PHONY: validate
validate: $(SAM)/.installed ## Check template.yaml (sam validate --lint)
	@$(WITH_SAM) validate --lint

.PHONY: build
build: $(SAM)/.installed ## Build the functions and the layer (sam build)
	@$(WITH_SAM) build $(ARGS)

# What the pipeline does, in its order; docs/deploying.md says what each needs.
PACKAGE ?= dist

.PHONY: package
package: $(SUPPLY)/.installed build ## Pack what was built for every stage, with its hashes and its bill of materials (in dist/)
	@$(SUPPLY)/bin/python scripts/package.py $(PACKAGE)

.PHONY: changes
changes: $(SAM)/.installed ## Show what deploying the package to STAGE (dev, staging, prod) would change
	@$(SAM)/bin/python scripts/deploy.py $(PACKAGE) $(STAGE) --changes

.PHONY: deploy
deploy: $(SAM)/.installed ## Deploy the package to STAGE, by a change set that is shown first
	@$(SAM)/bin/python scripts/deploy.py $(PACKAGE) $(STAGE)

.PHONY: test-deployed
test-deployed: $(DEV)/.installed ## Test the API at URL with KEY, a key of the organization of tests/deploy/catalogue
	@: "$${URL:?is the address of the stage}" "$${KEY:?is an API key}"
	@$(DEV)/bin/python -m pytest -m "" tests/deploy/test_address.py $(ARGS)

.PHONY: deploy-local
deploy-local: $(DEV)/.installed $(ENGINE)/.installed package ## Deploy the package to two stages of a local emulator, and run the deployment's tests on them
	@$(ENGINE)/bin/python scripts/deploy_local.py $(MAKE) test-local

# Within `deploy-local`, which starts the emulator and says where all is.
.PHONY: test-local
test-local:
	@$(DEV)/bin/python -m pytest -m "" tests/clients tests/deploy/test_deployed.py $(ARGS)
	@$(MAKE) test-deployed

.PHONY: drill
drill: $(DEV)/.installed $(ENGINE)/.installed package ## Back a deployed stack up on a local emulator, break it, restore it, and compare (7 minutes)
	@$(ENGINE)/bin/python scripts/drill.py

# Both run in a container engine, on the table that TABLE_NAME and AWS_ENDPOINT_URL_DYNAMODB say.
.PHONY: local-invoke
local-invoke: build ## Run the built functions on every file of events/ in the Lambda container (EVENT=events/... for one)
	@scripts/local-invoke $(or $(EVENT),$(sort $(wildcard events/*.json)))

.PHONY: local-api
local-api: build ## Serve the built functions with sam local start-api, on port 3000 (PORT=3001 for another)
	@scripts/local-invoke --api $(PORT)

# Pins stay as they are unless ARGS says otherwise (--upgrade, --upgrade-package NAME).
COMPILE := uv pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-emit-index-url --no-annotate --no-header

# The SDK and what comes with it are the Lambda runtime's, also where the tracer asks for them.
LAMBDA_HAS := $(addprefix --no-emit-package ,botocore jmespath python-dateutil six urllib3)

.PHONY: lock
lock: ## Pin the environments again from requirements/*.in (needs uv; ARGS="--upgrade" takes new versions)
	$(COMPILE) $(ARGS) $(LAMBDA_HAS) layers/meterstone/requirements.in --output-file layers/meterstone/requirements.txt
	@for name in runtime dev engine sam audit supply page; do \
		echo "$(COMPILE) $$name"; $(COMPILE) $(ARGS) requirements/$$name.in --output-file requirements/$$name.txt; \
	done
	@# The versions that are tested, without what the layer has.
	$(COMPILE) $(ARGS) functions/manage_catalogue/requirements.in --constraints requirements/runtime.txt --no-emit-package typing-extensions --output-file functions/manage_catalogue/requirements.txt
	@# It needs the same: the models of the catalogue's records.
	@cp functions/manage_catalogue/requirements.txt functions/recount_usage/requirements.txt

.PHONY: clean
clean: ## Remove what was built, and the environments
	rm -rf .aws-sam .venv .venvs .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
