"""`load`: from a file to a model that answers, on the provider that suits best."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from vit_runtime.artifact import Artifact, as_path
from vit_runtime.artifact.digest import check_digest, stored_digest
from vit_runtime.artifact.external_tensors import check_tensors
from vit_runtime.artifact.reading import read_document
from vit_runtime.artifact.signature import check_signature
from vit_runtime.cache.folder import PROFILES, cache_folder
from vit_runtime.devices.copying import kept_of
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.providers import CPU_PROVIDER, Provider
from vit_runtime.devices.purpose import Purpose
from vit_runtime.devices.session import Auto, OpenedSession, Overrides, open_session
from vit_runtime.errors import ProviderError, UsageError, option
from vit_runtime.graph import Graph
from vit_runtime.model import ViT
from vit_runtime.pictures.limits import LIMITS, Limits
from vit_runtime.pictures.preprocess import Decode
from vit_runtime.selftest import problem
from vit_runtime.suitability import check_suits, preferred, unfit

if TYPE_CHECKING:
    from vit_runtime.tuning.profile import Profile

_WORTH_A_WORD: Final = 1.1
"""How many times as fast another file has to be for a user to hear of it each time."""


def load(  # noqa: PLR0913 - as many options as loading has; all have defaults
    path: str | os.PathLike[str],
    *,
    provider: Provider = "auto",
    threads: int | None = None,
    device: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    session_options: Mapping[str, str] | None = None,
    verify: bool = False,
    use_profile: bool = True,
    purpose: Purpose = "latency",
    decode: Decode = "exact",
    limits: Limits = LIMITS,
) -> ViT:
    """Loads an artifact that `vit-export` has written.

    Args:
        path: the .onnx file; above 2 GB its weights lie beside it as .onnx.data.
        provider: "auto" takes what `vit-run tune` found fastest on this machine, or else the provider that the file is
            made for, where it is installed and passes the file's self-test, else the CPU; any other name runs on that
            provider or raises.
        threads: processor cores to use, where a processor computes; None for the physical performance cores.
        device: number of the GPU, for CUDA and TensorRT; None is the first.
        provider_options: further options of the provider that is named, as onnxruntime spells them.
        session_options: further configuration entries of the session, as onnxruntime spells them
            (`{"session.intra_op.allow_spinning": "0"}`).
        verify: whether to read the whole file first and compare its SHA-256 with the one that the export wrote. This
            finds damage, not a forger; `check` does it too. So it is with the copy that `prepare` made.
        use_profile: whether to heed the file's profile by `vit-run tune`. Who gives a provider, threads or a device has
            it not heeded, either.
        purpose: "latency" lets all threads work on one picture, "throughput" lets each work on a picture of its own,
            for more pictures a second.
        decode: "exact" prepares pictures to the reference's bytes, "fast" to nearly the same in less time.
        limits: what one picture may cost.

    Raises:
        ArtifactError: the file is missing, damaged, or no vit-edge artifact of a known version.
        ProviderError: the provider cannot run here.
        UsageError: options that do not go together.
        MissingDependencyError: no onnxruntime is installed.
    """
    if purpose not in get_args(Purpose):
        raise UsageError(option("purpose"), f"'{purpose}' is unknown", f"choose {' or '.join(get_args(Purpose))}")
    path = as_path(path)
    artifact = read_document(path)
    check_suits(artifact, provider)
    if verify:
        check_digest(path, artifact.external_data)
    digest = stored_digest(path)
    opening = partial(
        open_session,
        path,
        facts=ModelFacts.of(artifact, partial(check_tensors, path, artifact.external_data)),
        overrides=Overrides(device=device, provider_options=provider_options, session_options=session_options),
        kept=kept_of(digest, whole=verify),
        runs=1 if purpose == "latency" else None,
    )
    by_profile: OpenedSession | None = None
    notes: tuple[str, ...] = ()
    if use_profile and provider == "auto" and threads is None and device is None and not provider_options:
        by_profile, notes = _open_by_profile(opening, artifact, digest, path, purpose)
    opened = by_profile or opening(
        provider=provider,
        threads=threads,
        auto=Auto(first=preferred(artifact), judge=lambda it: problem(Graph(artifact, it), artifact.self_test)),
    )
    check_signature(opened.session, artifact, path)
    unsuitable = "" if by_profile else unfit(artifact, opened.provider)
    told = filter(None, (*notes, opened.note, unsuitable))
    return ViT(artifact, replace(opened, note="; ".join(told)), path, decode=decode, limits=limits)


def _open_by_profile(
    opening: Callable[..., OpenedSession], artifact: Artifact, digest: str, path: Path, purpose: Purpose
) -> tuple[OpenedSession | None, tuple[str, ...]]:
    """Opens a file in the setting of its profile, and says so; None where there is none, or it does not hold any more.

    A provider other than the CPU has to pass the file's self-test. What was found fastest for one picture says which
    provider to take for many, but not with how many threads.
    """
    if not (cache_folder() / PROFILES).is_dir():
        return None, ()
    from vit_runtime.tuning.profile import find_profile  # 5 ms, which most do without

    found = find_profile(path, digest)
    if found.profile is None:
        return None, (found.note,)
    setting = found.profile.setting
    try:
        check_suits(artifact, setting.provider)
        threads = setting.threads if purpose == "latency" else None
        opened = opening(provider=setting.provider, threads=threads)
        wrong = "" if opened.provider == CPU_PROVIDER else problem(Graph(artifact, opened), artifact.self_test)
    except ProviderError as error:
        wrong = error.what
    if wrong:
        return None, (f"{setting.provider} is not used, although vit-run tune found it fastest: {wrong}",)
    return opened, (_tuned(found.profile),)


def _tuned(profile: Profile) -> str:
    """Says that a profile was heeded, and which file is faster."""
    taken = f"as vit-run tune found fastest on {profile.date}"
    if profile.faster_file is None or profile.faster_times < _WORTH_A_WORD:
        return taken
    return f"{taken}; {profile.faster_file} was {profile.faster_times:.1f} times as fast"
