"""The command `vit-run tune`: tells what it does, shows what it found, and keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from vit_runtime.artifact import codec
from vit_runtime.command_line.console import note
from vit_runtime.command_line.terminal import columns
from vit_runtime.devices.providers import Provider
from vit_runtime.devices.purpose import Purpose
from vit_runtime.errors import EXIT_INTERRUPTED, OutputFileError
from vit_runtime.tuning.agreement import describe_agreement
from vit_runtime.tuning.contender import Contender
from vit_runtime.tuning.profile import Profile, keep_profile
from vit_runtime.tuning.tune import Tuning, tune
from vit_runtime.wording import plural

_LONGEST: Final = 60
_HEADERS: Final[dict[Purpose, tuple[str, ...]]] = {
    "latency": ("file", "setting", "ms", "fastest tenth", "times", "memory", "agreement with fp32", "state"),
    "throughput": ("file", "setting", "ms", "pictures/s", "times", "memory", "agreement with fp32", "state"),
}


def run_tune(models: Sequence[Path], seconds: float, purpose: Purpose, provider: Provider, *, as_json: bool) -> None:
    """Tunes files and prints a table, or JSON lines; what is quickest for each file is kept as its profile.

    Raises:
        VitEdgeError: see `vit_runtime.tuning.tune`.
    """
    found = tune(models, seconds=seconds, purpose=purpose, provider=provider, tell=note)
    if as_json:
        for contender in found.contenders:
            typer.echo(json.dumps(_document(contender, found.profiles)))
    else:
        typer.echo(describe_tuning(found, purpose))
    if found.profiles:
        best = found.profiles[0]
        note(f"best: {Path(best.file).name} on {best.setting}, {best.milliseconds:.1f} ms a picture")
        if purpose == "latency":
            _keep(found.profiles)
    if not found.is_complete:
        known = f"this is what {plural(found.rounds, 'whole round')} showed" if found.rounds else "nothing is kept"
        note(f"interrupted: {known}")
        raise typer.Exit(EXIT_INTERRUPTED)


def describe_tuning(found: Tuning, purpose: Purpose) -> str:
    """A table with a line for each file and setting, the fastest first."""
    best = min(each.median for each in found.contenders)
    ordered = sorted(found.contenders, key=lambda each: (each.state != "measured", each.median))
    return columns([_HEADERS[purpose], *(_cells(each, best, purpose) for each in ordered)])


def _cells(contender: Contender, best: float, purpose: Purpose) -> tuple[str, ...]:
    latency = contender.latency
    memory = "-" if contender.memory_mb is None else f"{contender.memory_mb} MB"
    times = ("-", "-", "-")
    if latency is not None:
        second = f"{latency.p10_ms:.1f}" if purpose == "latency" else f"{1000 / latency.median_ms:.1f}"
        times = (f"{latency.median_ms:.1f}", second, f"{contender.median / best:.2f}")
    state = f"{contender.state}: {contender.why}" if contender.why else contender.state
    return (
        contender.candidate.path.name,
        str(contender.setting),
        *times,
        memory,
        describe_agreement(contender.candidate.artifact),
        state if len(state) <= _LONGEST else f"{state[: _LONGEST - 3]}...",
    )


def _document(contender: Contender, profiles: Sequence[Profile]) -> dict[str, object]:
    latency = contender.latency
    own = next((each for each in profiles if each.digest == contender.candidate.digest), None)
    is_best = own is not None and own.setting == contender.setting
    return {
        "file": str(contender.candidate.path),
        **vars(contender.setting),
        "state": contender.state,
        "why": contender.why,
        "latency": None if latency is None else codec.encode(latency),
        "load_seconds": round(contender.load_seconds, 3),
        "memory_mb": contender.memory_mb,
        "agreement": describe_agreement(contender.candidate.artifact),
        "best_of_file": is_best,
        "best": is_best and own is profiles[0],
    }


def _keep(profiles: Sequence[Profile]) -> None:
    """Writes the profiles; where the cache folder takes none, says so and how to go without."""
    try:
        for profile in profiles:
            keep_profile(profile)
        note("kept for each of these files: commands use it from now on, unless told otherwise or --no-profile")
    except OutputFileError as error:
        setting = profiles[0].setting
        threads = "" if setting.threads is None else f" --threads {setting.threads}"
        note(f"this is not kept ({error.what}): give --provider {setting.provider}{threads} to the commands")
