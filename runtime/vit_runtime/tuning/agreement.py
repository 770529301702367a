"""What a file's own record says about how its answers agree with the model's in float."""

from __future__ import annotations

from vit_runtime.artifact import Artifact


def recorded_cosine(artifact: Artifact) -> float:
    """The cosine of the answers with the model's in float, of the output that came out worst; 1 for fp32.

    It is the mean over the calibration pictures, where there were any, else the smallest of the export's verification.
    """
    if artifact.precision == "fp32":
        return 1.0
    facts = artifact.quantization
    if facts is not None and facts.agreement is not None:
        return min(output.mean_cosine for output in facts.agreement.outputs)
    return min(output.min_cosine for output in artifact.verification.outputs)


def describe_agreement(artifact: Artifact) -> str:
    """The same in words, with the share of answers that stay where it was counted."""
    if artifact.precision == "fp32":
        return "the same"
    cosine = f"cosine {recorded_cosine(artifact):.4f}"
    facts = artifact.quantization
    if facts is None or facts.agreement is None or facts.calibration is None:
        return f"{cosine} at worst of {artifact.verification.pictures}"
    same, pictures = facts.agreement.same_top1, facts.calibration.pictures
    return cosine if same is None else f"{same} of {pictures} answers, {cosine}"
