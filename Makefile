# Every target sets up what it needs. `make demo` and `make test` are all a newcomer has to know.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MEDIAPIPE := $(VENV)-mediapipe/bin/python
PEERS := $(VENV)-peers/bin/python
BEAM := $(VENV)-beam/bin/python
DEMO_RUN ?= runs/quickstart
IMAGE ?= convoy
BASE ?= cpu

.PHONY: demo test lint format bench image docs clean

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[full]'
	touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

# MediaPipe needs another absl-py than tensorflow-model-optimization, so it gets an environment of its own.
$(VENV)-mediapipe/.installed: Makefile
	$(PYTHON) -m venv $(VENV)-mediapipe
	$(VENV)-mediapipe/bin/pip install --quiet mediapipe~=1.2.0
	touch $@

# Apache Beam needs an older protobuf than the one that is tested with: its own environment lies on top of the main one.
$(VENV)-beam/.installed: Makefile $(VENV)/.developer
	$(PYTHON) -m venv $(VENV)-beam
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(BEAM) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main_environment.pth"
	$(VENV)-beam/bin/pip install --quiet apache-beam~=2.77.0
	touch $@

# What Convoy's augmentation, its files and its server are measured against.
$(VENV)-peers/.installed: Makefile
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet albumentations~=2.0 torch==2.13.0 grain~=0.2.18 onnxruntime~=1.32 onnx~=1.23 'fastapi~=0.165'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/convoy run configs/quickstart.yaml --run $(DEMO_RUN)

# The tests start some eighty processes: bytecode is written, lest each of them compile Convoy anew.
test: $(VENV)/.developer $(VENV)-mediapipe/.installed $(VENV)-beam/.installed
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| echo "No Chromium found: the report's browser tests are skipped. Install the package 'chromium' to run them."
	@$(MEDIAPIPE) -c 'import mediapipe' 2>/dev/null \
		|| echo "MediaPipe cannot be loaded: its test is skipped. Install the packages 'libegl1' and 'libgles2' to run it."
	CONVOY_BEAM_PYTHON=$(BEAM) CONVOY_MEDIAPIPE_PYTHON="$$($(MEDIAPIPE) -c 'import mediapipe, sys; print(sys.executable)' 2>/dev/null)" \
		PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.developer $(VENV)-peers/.installed
	CONVOY_PEERS_PYTHON=$(PEERS) $(BIN)/python -m benchmarks

docs: $(VENV)/.installed
	$(BIN)/convoy describe --markdown > docs/settings.md
	$(BIN)/convoy describe models --markdown > docs/backbones.md

image:
	docker build --build-arg BASE=$(BASE) --tag $(IMAGE) .

clean:
	rm -rf build dist *.egg-info runs
