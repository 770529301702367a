"""The error tree: one line each, built-in errors as well, and able to travel between processes."""

from __future__ import annotations

import pickle

import pytest

import vit_runtime as vit
from vit_export.errors import CheckpointError, UnknownModelError, VerificationError
from vit_runtime.errors import one_line

ERRORS = [
    vit.ArtifactError("model.onnx", "empty file", "copy it again"),
    vit.ImageError("photo.jpg", "no such file"),
    vit.MissingDependencyError("onnxruntime", "vit-edge[cpu]"),
    vit.UsageError("threads", "0 is too few"),
    CheckpointError.mismatch("a.pth", "vit_b_16", missing=["x"], unexpected=[], reshaped=[]),
    UnknownModelError("model", "vit_b_17", ["vit_b_16"], "see --list"),
    VerificationError("vit_b_16", "differs"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_from_another_process(error: vit.VitEdgeError):
    """As `multiprocessing.Pool` sends it; an error that cannot be read there hangs the pool."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert (str(copy.where), copy.what, copy.remedy) == (str(error.where), error.what, error.remedy)
    assert copy.exit_code == error.exit_code


def test_another_librarys_error_becomes_one_short_line():
    assert one_line(ValueError("first\n  second")) == "first second"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 10_000))) <= 300
