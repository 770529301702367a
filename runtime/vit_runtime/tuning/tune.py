"""Tries files in all settings that this machine offers, and says which is fastest.

First each contender is opened alone, tried against its self-test and timed briefly; what is far behind its file's best
is dropped. Then those that are left take turns until the time is over, so that a disturbance meets all of them. Each
has a process of its own, so a provider that crashes does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from vit_runtime.artifact import as_path
from vit_runtime.devices.listing import Device, list_devices
from vit_runtime.devices.machine import available_mb, recent_load
from vit_runtime.devices.providers import SLOW_TO_START, Provider, parse
from vit_runtime.devices.purpose import Purpose
from vit_runtime.errors import ProviderError, UsageError, option
from vit_runtime.suitability import suits
from vit_runtime.tuning.agreement import recorded_cosine
from vit_runtime.tuning.contender import Candidate, Contender
from vit_runtime.tuning.profile import Profile, new_profile
from vit_runtime.tuning.trials import settings_to_try

_FIRST_LOOK: Final = 0.3
"""Seconds of the brief timing."""
_TURN: Final = 0.5
"""Seconds of a turn."""
_FAR_BEHIND: Final = 1.3
"""How many times a file's best time a contender may take at first without being dropped."""
_WORTH: Final = 0.97
"""A setting has to take less than this share of the usual one's time to be preferred: less is noise."""
_LEVEL: Final = 0.95
"""Files whose times differ by less than this are as fast as each other."""
_BUSY: Final = 0.25
"""Share of busy cores from which on there is a warning."""
_MEMORY_FOR: Final = 2.0
"""How many times a file's size has to be free for it to be opened: the engine reads it, and keeps a copy."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was found out."""

    contenders: tuple[Contender, ...]
    profiles: tuple[Profile, ...]
    """The best setting of each file, the best file first; none for a file of which nothing was measured."""
    rounds: int
    """How many turns each contender had."""
    is_complete: bool
    """Whether it ran to its end, and was not interrupted."""


def tune(
    paths: Sequence[Path],
    *,
    seconds: float,
    purpose: Purpose = "latency",
    provider: Provider = "auto",
    tell: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Finds the fastest provider and number of threads for each file, and the fastest file.

    An interruption by Ctrl-C ends it early: what every contender had a turn for still counts.

    Args:
        paths: files of one model, such as fp32 and int8.
        seconds: how long to measure, about; loading comes on top.
        purpose: what is to be fast: one picture's answer, or many pictures a second.
        provider: the only one to try; "auto" tries all but those whose first start takes minutes.
        tell: is called with a line on each step.

    Raises:
        ArtifactError: a file is missing, damaged, or no artifact.
        UsageError: no file, files of different models, or no time.
        ProviderError: nothing could run any of the files.
        MissingDependencyError: no onnxruntime is installed.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError("seconds", f"is {seconds}", "give a number above 0")
    contenders = _contenders(_candidates(paths, tell), purpose, provider, tell)
    if (load := recent_load()) > _BUSY:
        tell(
            f"warning: {load:.0%} of the cores were busy in the last minute; on a quiet machine another setting may win"
        )
    rounds, complete = 0, False
    try:
        _look(contenders, tell)
        running = _reopened(contenders)
        tell(f"measuring {len(running)} of them in turns for {seconds:g} seconds")
        rounds, complete = _take_turns(running, seconds)
    except KeyboardInterrupt:
        pass
    finally:
        for contender in contenders:
            contender.close()
    profiles = _profiles(contenders) if rounds else []
    if complete and not profiles:
        why = next(each.why for each in contenders if each.why)
        raise ProviderError(str(paths[0]), f"nothing runs it right here ({why})", "see what vit-run check says")
    return Tuning(contenders=tuple(contenders), profiles=tuple(profiles), rounds=rounds, is_complete=complete)


def _candidates(paths: Sequence[Path], tell: Callable[[str], None]) -> list[Candidate]:
    if not paths:
        raise UsageError("paths", "no file", "give one or more")
    found: dict[str, Candidate] = {}
    for path in map(as_path, paths):
        candidate = Candidate.at(path)
        if (known := found.setdefault(candidate.digest, candidate)) is not candidate:
            tell(f"{path} is the same as {known.path}: tried once")
    first, *others = found.values()
    for other in others:
        if _model(other) != _model(first):
            what = f"is of another model than {first.path}"
            raise UsageError(str(other.path), what, "tune files of one model at a time")
    return list(found.values())


def _model(candidate: Candidate) -> tuple[object, ...]:
    return candidate.artifact.source, candidate.artifact.architecture


def _contenders(
    candidates: Sequence[Candidate], purpose: Purpose, provider: Provider, tell: Callable[[str], None]
) -> list[Contender]:
    """Every file in every setting that this machine offers for it.

    Raises:
        ProviderError: there is none.
    """
    tell("looking for devices")
    devices = list_devices()
    for device in devices:
        slow = f"its first start takes minutes; {option('provider', device.provider)} tries it"
        problem = device.problem or (slow if device.provider in SLOW_TO_START else "")
        if provider == "auto" and device.is_installed and problem:
            tell(f"{device.provider} is not tried: {problem}")
    contenders = [
        Contender(candidate=each, setting=setting)
        for each in candidates
        for setting in settings_to_try(devices, purpose, provider)
        if suits(each.artifact, setting.provider)
    ]
    if not contenders:
        raise _nothing_to_try(provider, devices)
    return contenders


def _nothing_to_try(provider: Provider, devices: Sequence[Device]) -> ProviderError:
    """Says why a provider that was named has nothing to offer."""
    where, record = f"provider '{provider}'", parse(provider)[0]
    own = [device for device in devices if device.provider.partition(":")[0] == record.name]
    if not any(device.is_installed for device in own):
        return ProviderError(where, "is not installed", record.how_to_get)
    if problems := [device.problem for device in own if device.problem]:
        return ProviderError(where, problems[0])
    return ProviderError(where, "does not know these files' operators, or has no such device here")


def _look(contenders: Sequence[Contender], tell: Callable[[str], None]) -> None:
    """Opens, tries and briefly times each, alone; a file that failed on a provider is not tried there again."""
    for number, contender in enumerate(contenders):
        failed = [
            each
            for each in contenders[:number]
            if each.candidate is contender.candidate
            and each.setting.provider == contender.setting.provider
            and each.state in ("failed", "wrong")
        ]
        if failed:
            contender.close(failed[0].state, failed[0].why)
            continue
        tell(f"trying {contender.candidate.path.name} on {contender.setting}")
        _open(contender)
        if contender.is_open:
            contender.measure(_FIRST_LOOK)
        contender.close()


def _reopened(contenders: Sequence[Contender]) -> list[Contender]:
    """Opens those that are worth a longer look, the fastest first, as far as the memory goes.

    A file's usual setting, its first, always is: a moment's disturbance must not put it out.
    """
    running = []
    usual = {id(each.candidate): each for each in reversed(contenders) if each.state == "measured"}
    for contender in sorted(contenders, key=lambda each: each.least):
        best = min(each.least for each in contenders if each.candidate is contender.candidate)
        if contender.state != "measured":
            continue
        if contender.least > _FAR_BEHIND * best and contender is not usual[id(contender.candidate)]:
            contender.close("slower", "far behind at first")
            continue
        _open(contender)
        if contender.is_open:
            running.append(contender)
    return running


def _open(contender: Contender) -> None:
    """Opens a contender if there is room for it, by its file's size or by what its process took before."""
    free, needed = available_mb(), max(_MEMORY_FOR * contender.candidate.bytes / 1e6, contender.memory_mb or 0)
    if free is not None and needed > free:
        contender.close("not tried", f"only {free} MB of memory are free")
    else:
        contender.open()


def _take_turns(running: Sequence[Contender], seconds: float) -> tuple[int, bool]:
    """Lets all take turns for some seconds, in an order that moves on.

    Gives the number of whole rounds, and whether the time ran out, rather than Ctrl-C.
    """
    for contender in running:
        contender.forget()  # the first look was alone
    end, rounds = time.perf_counter() + seconds, 0
    while running and (rounds == 0 or time.perf_counter() < end):
        start = rounds % len(running)
        kept = {id(each): len(each.times) for each in running}
        try:
            for contender in (*running[start:], *running[:start]):
                contender.measure(_TURN)
        except KeyboardInterrupt:
            for each in running:  # a round that not all have finished would favour some
                each.forget(kept[id(each)])
            return rounds, False
        running = [each for each in running if each.is_open]
        rounds += 1
    return rounds, True


def _profiles(contenders: Sequence[Contender]) -> list[Profile]:
    """The best setting of each file as a profile, the best file first."""
    today = date.today().isoformat()
    candidates = list({each.candidate.digest: each.candidate for each in contenders}.values())
    found = []
    for candidate in candidates:
        right = [each for each in contenders if each.candidate is candidate and each.state == "measured"]
        if right:
            best = _best(right)
            found.append(new_profile(candidate.path, candidate.digest, best.setting, 1000 * best.median, date=today))
    if not found:
        return []
    pick = _best_file(found, candidates)
    found.sort(key=lambda profile: (profile is not pick, profile.milliseconds))
    return [pick] + [
        replace(profile, faster_file=Path(pick.file).name, faster_times=profile.milliseconds / pick.milliseconds)
        for profile in found[1:]
    ]


def _best_file(found: Sequence[Profile], candidates: Sequence[Candidate]) -> Profile:
    """The fastest; where others are as fast, the one that answers most as the model does in float."""
    agreement = {each.digest: recorded_cosine(each.artifact) for each in candidates}
    fastest = min(profile.milliseconds for profile in found)
    level = [profile for profile in found if fastest >= _LEVEL * profile.milliseconds]
    return max(level, key=lambda profile: (agreement[profile.digest], -profile.milliseconds))


def _best(right: Sequence[Contender]) -> Contender:
    """The fastest; the first, with the usual setting, where the fastest gains no more than noise."""
    fastest, usual = min(right, key=lambda each: each.median), right[0]
    return fastest if fastest.median < _WORTH * usual.median else usual
