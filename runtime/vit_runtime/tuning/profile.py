"""Profiles: what `vit-run tune` found fastest for a file on this machine, kept in the user's cache folder.

A profile is a small JSON file, named by the digest that the model file carries. It is heeded only on the machine, with
the onnxruntime and with the provider's version that it was made with: else it says nothing about what is fastest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vit_runtime.artifact import codec
from vit_runtime.devices.cache_folder import cache_folder
from vit_runtime.devices.engine import import_onnxruntime, is_here, source_of
from vit_runtime.devices.hardware import processor_name
from vit_runtime.devices.providers import Provider, parse
from vit_runtime.files import atomic_write, blame

Purpose = Literal["latency", "throughput"]
"""What is to be fast: the answer for one picture, or pictures a second."""
_FORMAT_VERSION: Final = 1
_LARGEST_BYTES: Final = 1 << 16
_MOST_PROFILES: Final = 1000
"""How many profiles are looked through for a file that has changed."""
_MOST_THREADS: Final = 1024
_AGAIN: Final = "run vit-run tune again"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a file is run."""

    provider: Provider
    threads: int | None
    """Processor cores for one run; None for an accelerator."""
    runs: int = 1
    """Runs at a time."""
    batch: int = 1
    """Pictures in one run."""

    def __post_init__(self) -> None:
        if self.provider == "auto":
            raise ValueError("provider 'auto' is no setting")
        for name in ("threads", "runs", "batch"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MOST_THREADS:
                raise ValueError(f"{name} is {value}, should be from 1 to {_MOST_THREADS}")

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {_count(self.threads, 'thread')}"
        runs = "" if self.runs == 1 else f", {self.runs} runs at a time"
        return f"{self.provider}{threads}{runs}" + ("" if self.batch == 1 else f", batches of {self.batch}")


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What has to be the same for a profile to hold."""

    onnxruntime: str
    source: str
    """What brings the provider, with its version."""
    processor: str


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The fastest setting of a file, and where that was found out."""

    format_version: int
    digest: str
    """The digest that the model file carried, in hexadecimal."""
    file: str
    """The file's path then."""
    purpose: Purpose
    setting: Setting
    milliseconds: float
    """Median for one picture."""
    circumstances: Circumstances
    date: str
    """Day of the measurement: 2026-11-29."""
    faster_file: str | None
    """Name of another file of the same model that was best when both were tuned together; None for the best."""
    faster_times: float
    """How many times as fast that file was; 1 for the best file itself."""

    def __post_init__(self) -> None:
        if self.format_version != _FORMAT_VERSION:
            raise ValueError(f"format_version {self.format_version}, should be {_FORMAT_VERSION}")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is known about a file."""

    profile: Profile | None
    note: str
    """Why there is no profile although there might have been one; else empty."""


def new_profile(
    path: Path, digest: str, purpose: Purpose, setting: Setting, milliseconds: float, *, date: str
) -> Profile:
    """A profile of this machine as it is now, for the fastest of the files that were tuned."""
    return Profile(
        format_version=_FORMAT_VERSION,
        digest=digest,
        file=str(path.absolute()),
        purpose=purpose,
        setting=setting,
        milliseconds=milliseconds,
        circumstances=_now(setting.provider),
        date=date,
        faster_file=None,
        faster_times=1.0,
    )


def keep_profile(profile: Profile) -> Path:
    """Writes a profile, or writes it again; gives its path.

    Raises:
        OutputFileError: the cache folder takes no files.
    """
    path = _path(profile.digest, profile.purpose)
    with blame(path, "the setting can be given by options"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(codec.encode(profile), indent=1).encode())
    return path


def find_profile(path: Path, digest: str, purpose: Purpose = "latency") -> Found:
    """Finds the profile of a model file; nothing is raised for what is damaged or out of date.

    Args:
        path: the model file.
        digest: the digest that it carries.
        purpose: what is to be fast.
    """
    own = _path(digest, purpose)
    try:
        profile = codec.decode(Profile, json.loads(_read(own)))
    except OSError:
        changed = any(profile.file == str(path.absolute()) for profile in _all(purpose))
        note = f"its profile by vit-run tune is not used: the file has changed since; {_AGAIN}" if changed else ""
        return Found(profile=None, note=note)
    except (ValueError, RecursionError):
        return Found(profile=None, note=f"{own}: this profile is damaged and not used; {_AGAIN}")
    if profile.digest != digest:
        return Found(profile=None, note=f"{own}: this profile is another file's and not used; {_AGAIN}")
    if changed_since := _changed(profile):
        return Found(profile=None, note=f"its profile by vit-run tune is not used: {changed_since}; {_AGAIN}")
    return Found(profile=profile, note="")


def _changed(profile: Profile) -> str:
    """Says what is no longer as it was when the profile was made; empty where nothing has changed."""
    record, _ = parse(profile.setting.provider)
    runtime = import_onnxruntime()
    if not is_here(runtime, record):
        return f"{profile.setting.provider} is not installed any more"
    then, now = profile.circumstances, _now(profile.setting.provider)
    if then.processor != now.processor:
        return f"it was made on {then.processor}"
    if then.onnxruntime != now.onnxruntime:
        return f"it was made with onnxruntime {then.onnxruntime}"
    return "" if then.source == now.source else f"it was made with {then.source}"


def _now(provider: Provider) -> Circumstances:
    runtime = import_onnxruntime()
    record, _ = parse(provider)
    source = source_of(runtime, record)
    return Circumstances(onnxruntime=runtime.__version__, source=source, processor=processor_name())


def _path(digest: str, purpose: Purpose) -> Path:
    return cache_folder() / "profiles" / f"{digest[:32]}.{purpose}.json"


def _all(purpose: Purpose) -> Iterator[Profile]:
    """The profiles that can be read, of files whatever."""
    for number, path in enumerate((cache_folder() / "profiles").glob(f"*.{purpose}.json")):
        if number == _MOST_PROFILES:
            return
        try:
            yield codec.decode(Profile, json.loads(_read(path)))
        except (OSError, ValueError, RecursionError):
            continue


def _read(path: Path) -> str:
    """Reads a profile's text.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is no text, or far too long.
    """
    with path.open("rb") as file:
        data = file.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise ValueError("too long")
    return data.decode()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
