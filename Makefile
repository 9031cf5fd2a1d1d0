# What CI runs is what a person runs. `make run` first; the rest when you want it.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?= 30
KILLS ?= 1000
SEED ?= 1
QUESTION := Who won the Best Film award?
DEBIAN := dataset-fashion-mnist chromium
export DO_NOT_TRACK := 1

.PHONY: run walk test quick lint bench gallery peers soak docs install debian clean

run: install  ## the default recipe and the default index, end to end, and one question
	$(BIN)/headrace run
	$(BIN)/headrace index
	$(BIN)/headrace query bbc-news "$(QUESTION)" -k 3

test: install debian  ## the whole suite
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

quick: install  ## the part that takes minutes, not tens of them
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

walk: install  ## every command block of the README and the tutorial, typed in order where `make run` was run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.walk

lint: install  ## ruff, mypy, and whether every extra installs beside the lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	sed -n 's|^\([^ ]*==[^ ]*\).*|\1|p' requirements.lock > .venv/pins.txt
	$(BIN)/python -m pip install --quiet --dry-run --only-binary :all: --no-build-isolation --constraint .venv/pins.txt \
	  --editable ".[$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"], sep=",")')]"

bench: install  ## ratios against what a user would pick instead, measured in one run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench

gallery: install debian  ## docs/families.md's table, from a run of every example; ONLY=NAME one row, DOWNLOADS=FOLDER files
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench.gallery $(ONLY:%=--only %) $(DOWNLOADS:%=--downloads %)

peers: install  ## what `bench` compares indexes with, in an environment of its own that sees this one's packages
	$(BIN)/python -m venv var/peers
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(var/peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/headrace.pth"
	var/peers/bin/python -m pip install --quiet -r bench/peers.txt

soak: install  ## kills and power cuts, MINUTES each over stages, trainings, drivers, disks; prints what it did and found
	folder=$$(mktemp -d) && export PATH="$(CURDIR)/$(BIN):$$PATH" && \
	python -m tests.faults.soak "$$folder/stages" --minutes $(MINUTES) --kills $(KILLS) --seed $(SEED) && \
	python -m tests.faults.trainings "$$folder/trainings" --minutes $(MINUTES) --tries $(KILLS) --seed $(SEED) && \
	python -m tests.faults.drivers "$$folder/drivers" --minutes $(MINUTES) && \
	python -m tests.faults.power_cut "$$folder/power" --minutes $(MINUTES) --cuts $(KILLS) --seed $(SEED) && \
	rm -rf "$$folder"

docs: install  ## the published JSON Schemas
	$(BIN)/headrace check --schema recipe > docs/recipe.schema.json
	$(BIN)/headrace check --schema index > docs/index.schema.json

install: .venv/installed

.venv/installed: installer.lock requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11, 5) else "Headrace needs Python 3.11.5 or newer; try: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-virtualenv -r installer.lock
	$(BIN)/python -m pip install --quiet --require-virtualenv --no-build-isolation -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

debian:  ## Debian packages that some tests need: installed where that is allowed, else named
	@missing=""; for package in $(DEBIAN); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q "ok installed" || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else echo "Tests that need these Debian packages are skipped:$$missing"; fi; fi

clean:  ## end this workspace's servers, and remove what can be made again (var/ keeps the registry: it stays)
	-$(BIN)/headrace stop
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
