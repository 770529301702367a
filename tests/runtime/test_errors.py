"""The error tree: one line each, built-in errors as well, and able to travel between processes."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

import vit_runtime as vit
from vit_export.errors import CheckpointError, UnknownModelError, VerificationError
from vit_runtime.errors import command_line, one_line, option

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


class TestOption:
    """How a message names a parameter."""

    CASES: ClassVar = [
        (("image_size",), "image_size", "--image-size"),
        (("precision", "int8"), "precision='int8'", "--precision int8"),
        (("image_size", 224), "image_size=224", "--image-size 224"),
        (("force", True), "force=True", "--force"),
        (("keep_float", 0), "keep_float=0", "--keep-float 0"),
        (("model",), "model", "MODEL"),
        (("rollout",), "rollout", "--attention"),
        (("batch_size", 8), "batch_size=8", "--batch 8"),
        (("top_k",), "top_k", "--top"),
    ]

    @pytest.mark.parametrize(("words", "python", "shell"), CASES)
    def test_in_python_and_on_the_command_line(self, words: tuple[str, object], python: str, shell: str):
        assert option(*words) == python
        with command_line():
            assert option(*words) == shell
            with command_line():
                assert option(*words) == shell
            assert option(*words) == shell
        assert option(*words) == python

    def test_an_error_leaves_it_as_it_was(self):
        with pytest.raises(ValueError, match="inside"), command_line():
            raise ValueError("inside")
        assert option("image_size") == "image_size"

    def test_a_thread_of_python_does_not_see_the_command_line_of_another(self):
        with command_line(), ThreadPoolExecutor() as pool:
            assert pool.submit(option, "image_size").result() == "image_size"


def test_another_librarys_error_becomes_one_short_line():
    assert one_line(ValueError("first\n  second")) == "first second"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 10_000))) <= 300
