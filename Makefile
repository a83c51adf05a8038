# Every target sets up what it needs. `make demo` and `make test` are all a newcomer has to know.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_RUN ?= runs/quickstart
IMAGE ?= convoy
BASE ?= cpu

.PHONY: demo test lint format bench image docs clean

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/convoy run configs/quickstart.yaml --run $(DEMO_RUN)

test: $(VENV)/.developer
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| echo "No Chromium found: the report's browser tests are skipped. Install the package 'chromium' to run them."
	$(BIN)/python -m pytest

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.developer
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed
	$(BIN)/convoy describe --markdown > docs/settings.md

image:
	docker build --build-arg BASE=$(BASE) --tag $(IMAGE) .

clean:
	rm -rf build dist *.egg-info runs
