"""Loads a model for a command, and notes what it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vit_runtime.artifact import Output
from vit_runtime.command_line.console import note
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.devices.memory import reuse_large_blocks
from vit_runtime.devices.providers import Provider
from vit_runtime.devices.purpose import Purpose
from vit_runtime.loading import load
from vit_runtime.model import ViT
from vit_runtime.pictures.limits import LIMITS, Limits
from vit_runtime.pictures.preprocess import Decode
from vit_runtime.wording import plural


@dataclass(frozen=True)
class Choice:
    """What a user chose to run on, by options."""

    provider: Provider
    threads: int | None
    device: int | None
    no_profile: bool


def load_model(
    path: Path,
    choice: Choice,
    wanted: Output | None = None,
    *,
    purpose: Purpose = "latency",
    decode: Decode = "exact",
    limits: Limits = LIMITS,
) -> ViT:
    """Loads a model, checks that it has the output `wanted`, and notes what it runs on."""
    silence_onnxruntime()
    vit = load(
        path,
        provider=choice.provider,
        threads=choice.threads,
        device=choice.device,
        use_profile=not choice.no_profile,
        purpose=purpose,
        decode=decode,
        limits=limits,
    )
    reuse_large_blocks()
    if wanted is not None:
        vit.require(wanted)
    threads_used = "" if vit.threads is None else f", {plural(vit.threads, 'thread')}"
    runs = "" if vit.runs_at_once == 1 else f", {vit.runs_at_once} pictures at a time"
    note(f"{vit.artifact.model} {vit.artifact.precision} on {vit.provider}{threads_used}{runs}")
    if vit.note:
        note(vit.note)
    if wanted == "logits" and vit.probability_kind == "sigmoid":
        note("each class has a probability of its own (sigmoid): they do not add up to 100 %")
    if vit.artifact.source.is_random:
        note("warning: this model has random weights: it was never trained, and its answers mean nothing")
    return vit
