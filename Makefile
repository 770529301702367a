# Everything a newcomer or CI needs, from a machine with Python 3.10 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What CI has passed with, a file for each Python and machine that CI has. Whoever has another takes the newest of
# everything, and is never held by a release that has no wheel for it; `make CONSTRAINTS= ...` does so with any.
PLATFORM := $(shell $(PYTHON) -c 'import platform as p; print(*p.python_version_tuple()[:2], sep=".", end="-"); \
	print(p.system().lower(), p.machine(), sep="-")')
CONSTRAINTS ?= .ci/constraints-$(PLATFORM).txt
PINS := $(wildcard $(CONSTRAINTS))
PHOTOS ?= 10
# A file of tests after the other, on each core; more than four would take 8 GB. PyTorch's own threads would wait for each
# other then, by spinning: with them the tests take half as long again.
SHARED := --numprocesses=logical --maxprocesses=4 --dist=loadfile
UPGRADE ?= --upgrade
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(UPGRADE) $(addprefix --constraint ,$(PINS))

.PHONY: help demo check report test test-all test-browser test-arm64 count-arm64 newest constraints format clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.export: pyproject.toml $(PINS)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[cpu,export]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(PINS)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.export

demo: $(VENV)/.export  ## install, export a small trained model, and classify pictures with it
	$(BIN)/vit-export models/digits/digits_vit.safetensors --labels models/digits/labels.txt --resize 32 \
		--output models/digits.onnx --force
	$(BIN)/vit-run check models/digits.onnx
	$(BIN)/python models/digits/demo.py models/digits.onnx models/digits/samples
	@echo
	@echo "The same with ImageNet's 1000 classes (downloads 330 MB):"
	@echo "    $(BIN)/vit-export vit_b_16"
	@echo "    $(BIN)/vit-run classify models/vit_b_16.onnx YOUR_PHOTO.jpg"

check: $(VENV)/.dev  ## style, types, arrows between rooms, and whether the pages show what the committed results say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/vit-bench report bench/results/*.json --page docs/benchmarks.md --summary README.md --check

report: $(VENV)/.dev  ## put the committed results into README and docs/benchmarks.md
	$(BIN)/vit-bench report bench/results/*.json --page docs/benchmarks.md --summary README.md

test: check  ## the above, and every test but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" $(SHARED) --durations=15

test-all: check  ## every test; takes a quarter of an hour more, 5 GB of memory and 6 GB of disk
	$(BIN)/pytest

test-browser: $(VENV)/.dev  ## the service's page in a Chromium of the system (apt-get install chromium)
	$(INSTALL) --editable '.[browser]'
	$(BIN)/pytest -m browser

newest:  ## `make test` with the newest release of everything, in an environment of its own (8 GB of disk)
	rm -rf build/newest
	$(MAKE) test VENV=build/newest CONSTRAINTS= UPGRADE='--upgrade --upgrade-strategy eager'

constraints: newest  ## then write what has passed into .ci/, for CI and whoever has the same Python
	{ echo '# What has passed together: written by `make constraints`.'; \
	  build/newest/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed -nE 's/^([A-Za-z0-9._-]+==[0-9][0-9a-z.]*).*/\1/p'; \
	} > build/constraints.txt
	grep -q '^torch==' build/constraints.txt
	mv build/constraints.txt $(CONSTRAINTS)

# Linux 6.7 or newer, apt with Debian's keys, and user namespaces: an ARM Debian under QEMU, in build/arm64 (700 MB).
test-arm64: $(VENV)/.export  ## the built wheel on ARM cores that QEMU plays: do its answers differ from those here?
	$(BIN)/python tests/arm64/prove.py build/arm64 --photos $(PHOTOS)

count-arm64: $(VENV)/.export  ## then: the instructions that a pass executes there; builds QEMU first (10 minutes, 2 GB)
	$(BIN)/python tests/arm64/count.py build/arm64

format: $(VENV)/.dev  ## put the code into shape
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

clean:  ## delete what the targets above have made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist models/digits.onnx
