"""Profiles: what `vit-run tune` found fastest for a file on this machine, kept in the user's cache folder.

A profile is a small JSON file, named by the digest that the model file carries. It is heeded only on the machine, with
the onnxruntime and with the provider's version that it was made with: else it says nothing about what is fastest.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from vit_runtime.artifact import codec
from vit_runtime.cache.folder import PROFILES, cache_folder, make_folder
from vit_runtime.devices.engine import import_onnxruntime, is_here, source_of
from vit_runtime.devices.hardware import processor_name
from vit_runtime.devices.providers import Provider, parse
from vit_runtime.devices.threads import default_threads
from vit_runtime.files import atomic_write, blame
from vit_runtime.tuning.setting import Setting
from vit_runtime.wording import plural

_FORMAT_VERSION: Final = 1
_LARGEST_BYTES: Final = 1 << 16
_MOST_PROFILES: Final = 1000
"""How many profiles are looked through for a file that has changed."""
_LONGEST_NAME: Final = 255
_AGAIN: Final = "run vit-run tune again"


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What has to be the same for a profile to hold."""

    processor: str
    cores: int
    """Processor cores that a process may use, as far as its affinity and quota allow."""
    onnxruntime: str
    source: str
    """What brings the provider, with its version."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The fastest setting of a file, and where that was found out."""

    format_version: int
    digest: str
    """The digest that the model file carried, in hexadecimal."""
    file: str
    """The file's path then."""
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
        if not 0 < self.milliseconds < math.inf or not 0 < self.faster_times < math.inf:
            raise ValueError("its times make no sense")
        if max(map(len, (self.date, self.faster_file or ""))) > _LONGEST_NAME:
            raise ValueError("its names are too long")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is known about a file."""

    profile: Profile | None
    note: str
    """Why there is no profile although there might have been one; else empty."""


def new_profile(path: Path, digest: str, setting: Setting, milliseconds: float, *, date: str) -> Profile:
    """A profile of this machine as it is now, for the fastest of the files that were tuned."""
    return Profile(
        format_version=_FORMAT_VERSION,
        digest=digest,
        file=str(path.absolute()),
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
    path = _path(profile.digest)
    with blame(path, "the setting can be given by options"):
        make_folder(path.parent)
    with atomic_write(path) as file:
        file.write(json.dumps(codec.encode(profile), indent=1).encode())
    return path


def find_profile(path: Path, digest: str) -> Found:
    """Finds the profile of a model file; nothing is raised for what is damaged or out of date.

    Args:
        path: the model file.
        digest: the digest that it carries.
    """
    own = _path(digest)
    try:
        profile = codec.decode(Profile, json.loads(_read(own)))
    except (FileNotFoundError, NotADirectoryError):
        note = f"its profile by vit-run tune is not used: the file has changed since; {_AGAIN}"
        return Found(profile=None, note=note if _was_tuned(path) else "")
    except OSError as error:
        return Found(profile=None, note=f"{own}: this profile cannot be read ({error.strerror})")
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
    if then.cores != now.cores:
        return (
            f"it was made with {plural(then.cores, 'core')}, and there {'is' if now.cores == 1 else 'are'} {now.cores}"
        )
    if then.onnxruntime != now.onnxruntime:
        return f"it was made with onnxruntime {then.onnxruntime}"
    return "" if then.source == now.source else f"it was made with {then.source}"


def _now(provider: Provider) -> Circumstances:
    runtime = import_onnxruntime()
    record, _ = parse(provider)
    source = source_of(runtime, record)
    return Circumstances(
        processor=processor_name(), cores=default_threads(), onnxruntime=runtime.__version__, source=source
    )


def _path(digest: str) -> Path:
    return cache_folder() / PROFILES / f"{digest[:32]}.json"


def _was_tuned(path: Path) -> bool:
    """Whether there is a profile of a file that lay at this path."""
    line = f'"file": {json.dumps(str(path.absolute()))},'
    return any(line in _text(profile) for profile in islice(_path("").parent.glob("*.json"), _MOST_PROFILES))


def _text(path: Path) -> str:
    """A profile's text; empty where it cannot be read."""
    try:
        return _read(path)
    except (OSError, ValueError):
        return ""


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
