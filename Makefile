# Everything a person types. Needs python3 (3.11 or later), make and a package registry; the rest is made here.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Named by what the requirement files say, so that only a change of theirs installs again.
INSTALLED := $(VENV)/installed-$(shell cat requirements.txt requirements-dev.txt | cksum | cut -d' ' -f1)

# osls, which deploys, and comes by npm. Where there is no npm, everything else goes on without.
OSLS := node_modules/.installed-$(shell cat package-lock.json | cksum | cut -d' ' -f1)
OSLS_IF_IT_CAN := $(if $(shell command -v npm),$(OSLS))

.DEFAULT_GOAL := help
.PHONY: help run demo screenshots lambda test check prove fences doctor bench package growth sweep console-bench migrate restore openapi fuzz demo-model redis format lock clean
.PHONY: template deploy secret remove

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED) ## Serve on 127.0.0.1:8000 (PORT=8001 for another), with Postgres, Redis and a model
	@$(PY) -m dev.serve

demo: $(INSTALLED) ## Play a day at the clinic against `make run`, with a real crash (ARGS=--quick; ARGS=--erase takes it away again)
	@$(PY) -m dev.demo $(ARGS)

screenshots: $(INSTALLED) ## Take the README's pictures: a service of its own, the demo, and a real Chromium
	@$(PY) -m dev.screenshots $(ARGS)

lambda: $(INSTALLED) ## Serve as on AWS: the zip's four functions under Lambda's runtime client, moto as AWS (PORT=8001 ARGS=--verbose)
	@$(PY) -m dev.lambda_host $(ARGS)

test: $(INSTALLED) $(OSLS_IF_IT_CAN) ## Run every test, on a real Postgres and a real Redis, in parallel (REPORT=tests.xml keeps the results)
	@$(PY) -W error -m pytest -W error -n 2 $(if $(REPORT),--junitxml=$(REPORT))

check: $(INSTALLED) ## ruff, mypy (strict), and the arrows between the rooms
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m pytest -W error -q tests/test_arrows.py

prove: $(INSTALLED) ## Break everything, and count what must not happen: half an hour (ARGS=--short: minutes)
	@$(PY) -m tests.prove $(ARGS)

fences: $(INSTALLED) ## Take each fence out of the code in turn, and see a test fail: most of an hour (ARGS="--only epoch")
	@$(PY) -m tests.prove.fences $(ARGS)

doctor: $(INSTALLED) ## Check the conversations at DATABASE_URL for what the model would refuse (ARGS=--fix mends)
	@$(PY) -m dev.doctor $(ARGS)

bench: $(INSTALLED) ## What a turn costs beside the same statements sent by hand; what a look, a session and a cold start cost
	@$(PY) -m bench.turn
	@$(PY) -m bench.sessions
	@$(PY) -m bench.cold

package: $(INSTALLED) ## Make the zip that Lambda runs, and its twin for tests, in build/ (ARGS="--arch arm64")
	@$(PY) -m dev.package $(ARGS)

growth: $(INSTALLED) ## What turns and connections cost the database, and when one is full (ARGS="--at-once 25 100")
	@$(PY) -m bench.growth $(ARGS)

sweep: $(INSTALLED) ## Sweep a million expired sessions while turns run, and 20,000 more that are archived: a quarter of an hour (ARGS="--sessions 20000 --archive 2000")
	@$(PY) -m bench.sweep $(ARGS)

console-bench: $(INSTALLED) ## What operators ask for, at a million conversations: ten minutes and 10 GB of disk (ARGS="--sessions 50000 --short")
	@$(PY) -m bench.console $(ARGS)

restore: $(INSTALLED) ## Bring an archived conversation back: SESSION=its ID, and USER_ID=whose it is, if you know
	@$(PY) -m dev.transfer restore $(SESSION) $(if $(USER_ID),--user $(USER_ID))

migrate: $(INSTALLED) ## Bring the database at DATABASE_URL up to this release (ARGS="current", or "downgrade 0005")
	@$(PY) -m functions.migrate $(or $(ARGS),upgrade)

template: $(INSTALLED) $(OSLS) build/latchkey-arm64.zip ## Make CloudFormation of serverless.yml, for both stages, and lint it; nothing is sent
	@for stage in dev prod; do \
	node_modules/.bin/osls package --stage $$stage --package build/template-$$stage && \
	$(VENV)/bin/cfn-lint -i W3005 -- build/template-$$stage/cloudformation-template-update-stack.json || exit 1; done

build/latchkey-arm64.zip:
	@$(PY) -m dev.package --arch arm64

deploy: $(INSTALLED) $(OSLS) ## Bring a stage to AWS: STAGE=dev (MIGRATE=no leaves the database alone; TURN=no tries no turn)
	@$(PY) -m dev.deploy deploy --stage "$(STAGE)" $(if $(MIGRATE),--migrate $(MIGRATE)) $(if $(TURN),--turn $(TURN))

secret: $(INSTALLED) ## Make the secret of a stage, or change it: STAGE=dev; it asks, or FROM=some.json names a file
	@$(PY) -m dev.deploy secret --stage "$(STAGE)" $(if $(FROM),--from "$(FROM)")

remove: $(INSTALLED) $(OSLS) ## Take a stage away from AWS: STAGE=dev; it asks first (YES=1: it does not), and says what stays
	@$(PY) -m dev.deploy remove --stage "$(STAGE)" $(if $(YES),--yes)

openapi: $(INSTALLED) ## Write docs/openapi.json anew, as the calls are
	@$(PY) -m dev.openapi

fuzz: $(INSTALLED) ## Try every call of docs/openapi.json with 5,000 requests and more, in both modes (ARGS="--cases 500 --seed 7")
	@$(PY) -m tests.door.fuzz $(ARGS)

demo-model: $(INSTALLED) ## Serve the demo model alone, on 127.0.0.1:8001
	@$(PY) -m dev.demo_model --port 8001

redis: $(INSTALLED) ## Serve a real Redis behind Upstash's REST API alone, on 127.0.0.1:8002
	@$(PY) -m dev.redis --port 8002

format: $(INSTALLED) ## Lay the code out as `make check` wants it
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

lock: $(INSTALLED) ## Make the pinned requirement files anew from the .in files, each file of a package by its digest
	@$(PY) -m uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --generate-hashes requirements.in -o requirements.txt
	@$(PY) -m uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --generate-hashes requirements-dev.in -o requirements-dev.txt

clean: ## Remove what was made here: the environment, the embedded Postgres and its data, zips and templates
	rm -rf $(VENV) node_modules build .serverless .latchkey .mypy_cache .ruff_cache .pytest_cache

$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Latchkey needs Python 3.11 or later; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "latchkey  installing the pinned packages into $(VENV); this takes about a minute, and only once"
	@$(PYTHON) -m venv $(VENV) || { echo "latchkey  $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@begun=$$(date +%s); \
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt && \
	rm -f $(VENV)/installed-* && touch $@ && \
	echo "latchkey  installed in $$(( $$(date +%s) - begun )) s"

# What the packages would run while they are installed is not needed: they only read and send.
$(OSLS):
	@command -v npm > /dev/null || { echo "latchkey  osls, which deploys, needs node (20.19 or later) and npm; on Debian and Ubuntu: apt-get install nodejs npm"; exit 1; }
	@echo "latchkey  installing osls from package-lock.json; this takes about half a minute, and only once"
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel error && touch $@
