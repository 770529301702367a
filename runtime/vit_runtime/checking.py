"""Whether a file is whole, and whether this machine answers as its verification did."""

from __future__ import annotations

from vit_runtime.artifact.digest import digest_problem
from vit_runtime.model import ViT
from vit_runtime.selftest import SelfTestResult, differences, pixels_sha256


def check(model: ViT) -> SelfTestResult:
    """Reads the model's whole file again, compares it with its digest, and runs the stored self-test on this machine.

    Raises:
        ArtifactError: the file cannot be read any more.
    """
    stored = model.artifact.self_test
    problem = digest_problem(model.path, model.artifact.external_data)
    return SelfTestResult(
        answers=stored.answers,
        outputs=differences(model, stored),
        same_pixels=pixels_sha256(model.artifact.preprocessing) == stored.pixels_sha256,
        same_file=problem is None,
    )
