# Everything a newcomer or CI needs, from a machine with Python 3.10 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo check report test test-all format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.export: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[cpu,export]'
	@touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
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

check: $(VENV)/.dev  ## style, types, and whether README shows what the committed results say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vit-bench report bench/results/*.json --readme README.md --check

report: $(VENV)/.dev  ## put the committed results into README
	$(BIN)/vit-bench report bench/results/*.json --readme README.md

test: check  ## style, types and every test but the slow ones
	$(BIN)/pytest -m "not slow"

test-all: check  ## every test; takes a quarter of an hour more, 5 GB of memory and 6 GB of disk
	$(BIN)/pytest

format: $(VENV)/.dev  ## put the code into shape
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

clean:  ## delete what the targets above have made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist models/digits.onnx
