"""What `vit-run check` finds out: the machine, whether answers are right, how fast, and what else runs the file."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from vit_runtime.cache.copies import damage
from vit_runtime.checking import check
from vit_runtime.devices.listing import Device, list_devices
from vit_runtime.devices.machine import Machine, resident_mb, this_machine
from vit_runtime.devices.providers import EXECUTION_PROVIDERS, SLOW_TO_START, Provider
from vit_runtime.devices.threads import default_threads
from vit_runtime.errors import one_line
from vit_runtime.installed import installed_version
from vit_runtime.model import ViT
from vit_runtime.selftest import SelfTestResult
from vit_runtime.suitability import suits
from vit_runtime.timing import Latency, time_runs
from vit_runtime.tuning.contender import Candidate, Contender
from vit_runtime.tuning.setting import Setting

_SECONDS: Final = 2.0
"""How long the chosen provider is timed."""
_SECONDS_EACH: Final = 0.5
"""How long each other provider is timed."""
_PACKAGES: Final = ("vit-edge", "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "numpy", "pillow")
"""Distributions whose versions matter, where they are installed."""


@dataclass(frozen=True, kw_only=True)
class Other:
    """Another provider, and whether it would run the file right."""

    provider: str
    problem: str
    """Why it does not; empty where it does."""
    latency: Latency | None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that a check has found out about the provider that was chosen, and about the machine."""

    machine: Machine
    versions: dict[str, str]
    """Versions by the name of the package."""
    result: SelfTestResult
    copy: str | None
    """What is wrong with the prepared copy that was mapped, empty for nothing; None where none was."""
    provider: str
    """onnxruntime's name of the chosen provider."""
    choice: Provider
    """The same as users name it, with the kind of device."""
    threads: int | None
    note: str
    """What loading had to say."""
    placement: dict[str, int]
    """Nodes of the graph by the provider that runs them; empty where this onnxruntime does not tell."""
    latency: Latency
    memory_mb: int | None
    """Memory of this process with the model loaded, in 10⁶ bytes."""
    peak_mb: int | None

    @property
    def passed(self) -> bool:
        """Whether the answers are right, and every byte of the file and of its copy is as it was made."""
        return self.result.passed and not self.copy


def diagnose(model: ViT) -> Diagnosis:
    """Checks a loaded model's answers, and measures it for a few seconds.

    Raises:
        ArtifactError: the file cannot be read any more.
        ProviderError: the provider cannot compute answers.
    """
    result = check(model)
    latency = Latency.of(time_runs(model, _SECONDS))
    memory, peak = resident_mb()
    return Diagnosis(
        machine=this_machine(),
        versions=_versions(),
        result=result,
        copy=None if model.prepared_copy is None else _copy_problem(model.prepared_copy),
        provider=model.provider,
        choice=model.choice,
        threads=model.threads,
        note=model.note,
        placement=model.placement(),
        latency=latency,
        memory_mb=memory,
        peak_mb=peak,
    )


def _copy_problem(copy: Path) -> str:
    try:
        return damage(copy)
    except (OSError, ValueError, RecursionError) as error:
        return one_line(error)


def try_others(model: ViT, tell: Callable[[str], None] = lambda _: None) -> Iterator[Other]:
    """Tries the file on every other device of the providers that are installed, each in a process of its own.

    Args:
        model: the loaded model; it may be closed.
        tell: is called with the name of each provider that is tried.
    """
    candidate = Candidate.at(model.path)
    for device in list_devices():
        if device.provider == model.choice or not device.is_installed:
            continue
        if problem := _no_try(model, device):
            yield Other(provider=device.provider, problem=problem, latency=None)
            continue
        tell(device.provider)
        threads = default_threads() if device.kind == "cpu" else None
        setting = Setting(provider=cast("Provider", device.provider), threads=threads)
        contender = Contender(candidate=candidate, setting=setting)
        try:
            contender.open()
            if contender.is_open:
                contender.measure(_SECONDS_EACH)
        finally:
            contender.close()
        yield Other(provider=device.provider, problem=contender.why, latency=contender.latency)


def _no_try(model: ViT, device: Device) -> str:
    """Says why it is useless to try a device; empty where it is not."""
    if not device.works:
        return device.problem
    if device.provider in SLOW_TO_START:
        return f"not tried: {SLOW_TO_START[device.provider]}"
    fits = suits(model.artifact, cast("Provider", device.provider))
    return "" if fits else "does not know this file's int8 products, which are onnxruntime's own"


def _versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide answers and speed, as far as they are installed."""
    plug_ins = (record.plug_in.distribution for record in EXECUTION_PROVIDERS.values() if record.plug_in)
    found = {package: installed_version(package) for package in (*_PACKAGES, *plug_ins)}
    return {"Python": platform.python_version(), **{name: version for name, version in found.items() if version}}
