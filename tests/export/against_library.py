"""What tests of `--against library` share: exports against it, and checkpoints of both libraries."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import save_file

from vit_export import ExportRequest, export
from vit_export.exported import Exported
from vit_export.progress import Silent

from . import hf_models, timm_models
from .test_timm import CASES as TIMM_CASES
from .timm_models import config_of, small

OF_TRANSFORMERS = f"transformers {hf.__version__}, torch {torch.__version__}"
OF_TIMM = f"timm {timm.__version__}, torch {torch.__version__}"
PREPARATION = "preparation of pictures is not compared"


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    @property
    def preparation(self) -> list[str]:
        return [line for line in self.lines if line.startswith(PREPARATION)]


@pytest.fixture(name="notes")
def notes_fixture() -> Notes:
    return Notes()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    hf_models.refuse_network(monkeypatch)


@pytest.fixture(name="shallow")
def shallow_fixture(monkeypatch):
    """`shallow(name)`: timm makes this architecture with two blocks, as `small` does: a test needs no more."""
    entries = timm.models._registry._model_entrypoints

    def register(name: str) -> None:
        monkeypatch.setitem(entries, name, functools.partial(entries[name], depth=2))

    return register


@pytest.fixture(name="exported")
def exported_fixture(folder, notes):
    """`exported(model, **options)`: its export, by default against its library."""

    def run(model: Path | str, **options: Any) -> Exported:
        request = {"output": folder / "out.onnx", "against": "library", "force": True} | options
        return export(ExportRequest(model=model, **request), notes)

    return run


def reference(done: Exported) -> str:
    assert done.artifact.verification is not None
    return done.artifact.verification.reference


def timm_folder(case: str, folder: Path, **changes: Any) -> Path:
    """As timm itself saves it: arguments that differ from the architecture's stand in `model_args`."""
    name, options = TIMM_CASES[case]
    model = small(name, **options)
    arguments = {option: value for option, value in options.items() if option != "num_classes"}
    config = config_of(model, **changes) | ({"model_args": arguments} if arguments else {})
    return timm_models.save(folder, model.state_dict(), config)


def timm_file(name: str, folder: Path, **options: Any) -> Path:
    path = folder / f"{name}.safetensors"
    save_file(small(name, **options).state_dict(), path)
    return path
