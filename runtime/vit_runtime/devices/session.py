"""Opens an onnxruntime session on the execution provider that was asked for, and on no other.

onnxruntime lists the providers that were compiled in, not those that work, and falls back to the CPU without an
error. Here a provider asked for by name runs the whole graph or raises `ProviderError` with the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vit_runtime.cache.copies import AGAIN, NO_COPY, FoundCopy
from vit_runtime.cache.engines import NO_ENGINES, EngineFolder, kept_engines
from vit_runtime.checks import text_by_text, whole_number
from vit_runtime.devices.engine import import_onnxruntime, is_built_in, is_here, source_of
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.hardware import processor_name
from vit_runtime.devices.libraries import load_failure
from vit_runtime.devices.memory import release_freed_memory
from vit_runtime.devices.options import KIND_NAMES, Kind, Wanted
from vit_runtime.devices.plugins import plugged_devices
from vit_runtime.devices.providers import (
    CPU,
    EXECUTION_PROVIDERS,
    PROVIDERS,
    SLOW_TO_START,
    ExecutionProvider,
    Provider,
    closest,
    parse,
)
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.settings import session_options
from vit_runtime.devices.threads import default_threads
from vit_runtime.errors import ArtifactError, ProviderError, UsageError, one_line, option

if TYPE_CHECKING:
    import onnxruntime as ort

_EXACT: Final = "this processor has no VNNI: exact but slower int8 kernels"
_MOST_THREADS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class OpenedSession:
    """A session, and what it really runs on."""

    session: ort.InferenceSession
    provider: str
    """onnxruntime's name of the execution provider that computes the graph."""
    choice: Provider
    """The same as users name it, with the kind of device: "openvino:gpu"."""
    threads: int | None
    """Processor cores that a run uses; None for an accelerator, which schedules itself."""
    runs: int
    """Runs at a time that the session is good at; 1 for an accelerator."""
    note: str
    """What a user should know, such as why `auto` did not take an accelerator that is compiled in; else empty."""
    copy: Path | None = None
    """Folder of the prepared copy that was mapped instead of the file; None for the file itself."""


def _no_problem(opened: OpenedSession) -> str:  # noqa: ARG001 - a judge
    return ""


@dataclass(frozen=True, kw_only=True)
class Auto:
    """How the provider "auto" is chosen: the first that works and has no problem, else the CPU."""

    first: Sequence[Provider] = ("cuda",)
    """What is tried before the CPU, in this order; what is not installed is passed over without a word."""
    judge: Callable[[OpenedSession], str] = _no_problem
    """Says in words what is wrong with a session that was opened; empty for nothing."""


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What a caller asks of onnxruntime itself, in its own words, beside what is set here."""

    device: int | None = None
    """Number of the GPU, for CUDA and TensorRT; None is onnxruntime's choice, the first."""
    provider_options: Mapping[str, str] | None = None
    """Further options for a provider that is named."""
    session_options: Mapping[str, str] | None = None
    """Further configuration entries for the session."""


_NO_OVERRIDES: Final = Overrides()
_NO_FACTS: Final = ModelFacts()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the user's cache folder holds of a model file, or may hold."""

    engines: Path | None = None
    """Folder where providers may keep what they compile; None keeps nothing."""
    copy: FoundCopy = NO_COPY
    """The prepared copy, for the CPU provider. It is left aside where the caller has overrides, which might not go with
    it."""


def open_session(
    path: Path,
    *,
    provider: Provider = "auto",
    threads: int | None = None,
    runs: int | None = 1,
    facts: ModelFacts = _NO_FACTS,
    overrides: Overrides = _NO_OVERRIDES,
    auto: Auto | None = None,
    kept: Kept | None = None,
) -> OpenedSession:
    """Opens a session that runs an ONNX file on an execution provider.

    Args:
        path: the file; weights in a file of their own lie beside it.
        provider: an execution provider by name, or "auto": see `auto`.
        threads: how many processor cores to use, where a processor computes; None for the physical performance cores.
        runs: how many runs at a time the session should be good at, each with that many threads; None for as many as
            there are threads, each with one.
        facts: what is known of the model.
        overrides: what the caller asks of onnxruntime itself.
        auto: how "auto" chooses; None is CUDA where it works, else the CPU.
        kept: what the cache folder holds of this file, or may hold; None for nothing.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
        UsageError: the number of threads is not from 1 to 1024, or the provider takes no threads, device or options.
        ProviderError: the provider is unknown, not installed, or cannot run this file on this machine.
        ArtifactError: onnxruntime cannot load the file.
    """
    if provider not in PROVIDERS:
        raise ProviderError(f"provider '{provider}'", "unknown", closest(provider))
    if threads is not None:
        threads = whole_number("threads", threads, least=1, most=_MOST_THREADS)
    opening = _Opening(
        runtime=import_onnxruntime(),
        path=path,
        entries=text_by_text("session_options", overrides.session_options),
        threads=threads,
        runs=runs,
        facts=facts,
        device=None if overrides.device is None else whole_number("device", overrides.device, least=0),
        own=text_by_text("provider_options", overrides.provider_options),
        kept=kept or Kept(),
    )
    if provider == "auto":
        return _open_auto(opening, auto or Auto())
    return _open_named(opening, provider)


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """What is asked for, whatever the provider."""

    runtime: Any
    """The onnxruntime module."""
    path: Path
    entries: dict[str, str]
    """The caller's configuration entries."""
    threads: int | None
    runs: int | None
    facts: ModelFacts
    device: int | None
    own: dict[str, str]
    """The caller's options for the provider."""
    kept: Kept

    @property
    def cores(self) -> int:
        """Processor cores to use for a run, where a processor computes; for all runs where each has one thread."""
        return self.threads or default_threads()

    def share(self) -> tuple[int, int]:
        """Threads of a run, and runs at a time, where a processor computes."""
        return (1, self.cores) if self.runs is None else (self.cores, self.runs)

    def wanted(self, kind: Kind, *, plug_in: bool = False, kept: Path | None = None) -> Wanted:
        """What the options of a provider depend on."""
        threads, runs = self.share()
        return Wanted(
            kind=kind,
            threads=threads,
            runs=runs,
            plug_in=plug_in,
            half=self.facts.precision == "fp16",
            int8=self.facts.precision == "int8",
            device=self.device,
            engines=kept,
            image_hw=self.facts.image_hw,
            width=self.facts.width,
        )

    def kept_engines(self, provider: ExecutionProvider, kind: Kind) -> AbstractContextManager[EngineFolder]:
        """The folder where a provider keeps what it compiles of this file."""
        if self.kept.engines is None or not provider.keeps_engines(self.wanted(kind)):
            return nullcontext(NO_ENGINES)
        version = f"{self.runtime.__version__} {source_of(self.runtime, provider)} {processor_name()}"
        slow = provider.name in SLOW_TO_START
        return kept_engines(self.kept.engines, provider.named(kind), version, slow=slow)


def _open_named(opening: _Opening, provider: Provider) -> OpenedSession:
    wanted, kind = parse(provider)
    if opening.threads is not None and kind != "cpu":
        raise UsageError(option("threads"), f"cannot be set for {provider}, which schedules itself", "leave it out")
    if opening.device is not None and not wanted.numbered:
        raise _not_numbered()
    if wanted is CPU:
        return _open_cpu(opening)
    return _open_accelerator(opening, wanted, kind)


def _not_numbered() -> UsageError:
    numbered = " and ".join(record.name for record in EXECUTION_PROVIDERS.values() if record.numbered)
    return UsageError(option("device"), f"is for {numbered}", f"add {option('provider', 'cuda')}")


def _open_auto(opening: _Opening, auto: Auto) -> OpenedSession:
    if opening.own:
        raise UsageError(option("provider_options"), "are for one provider", f"name it with {option('provider')}")
    if opening.device is not None:
        raise _not_numbered()
    notes = []
    for provider in auto.first:
        wanted, kind = parse(provider)
        if not is_here(opening.runtime, wanted):
            continue
        try:
            opened = _open_accelerator(opening, wanted, kind)
            problem = auto.judge(opened)
        except ProviderError as error:
            problem = error.what
        if not problem:
            unused = opening.threads is not None and opened.threads is None
            notes.append("threads are for the CPU: not used" if unused else "")
            break
        notes.append(f"{provider} is installed but not used: {problem}")
    else:
        opened = _open_cpu(opening)
    return replace(opened, note="; ".join(filter(None, (*notes, opened.note))))


def _open_cpu(opening: _Opening) -> OpenedSession:
    threads, runs = opening.share()
    copy = NO_COPY if opening.entries or opening.own else opening.kept.copy
    # A copy knows: whether they saturate takes a session of its own to find out.
    exact = copy.exact_int8 if copy.folder else opening.facts.precision == "int8" and int8_products_saturate()
    notes = [_EXACT if exact else "", copy.note]
    session = None
    if copy.graph is not None:
        options = session_options(threads, exact_int8=exact, optimized=True)
        try:
            session = _create(
                replace(opening, path=copy.graph, facts=_NO_FACTS), CPU, options, providers=[CPU.full_name]
            )
        except ArtifactError as error:
            notes.append(f"its prepared copy is not used: {error.what}; {AGAIN}")
    if session is None:
        from vit_runtime.devices.room import check_memory_to_load  # 5 ms, which a copy does without

        check_memory_to_load(opening.path, opening.facts.precision)
        copy, options = NO_COPY, session_options(threads, exact_int8=exact)
        session = _create(opening, CPU, options, providers=[(CPU.full_name, opening.own)])
    note = "; ".join(filter(None, notes))
    return OpenedSession(
        session=session,
        provider=CPU.full_name,
        choice="cpu",
        threads=threads,
        runs=runs,
        note=note,
        copy=copy.folder,
    )


def _open_accelerator(opening: _Opening, wanted: ExecutionProvider, kind: Kind) -> OpenedSession:
    """Opens a session on a provider other than the CPU's own, for the whole graph."""
    runtime, where = opening.runtime, f"provider '{wanted.name}'"
    if not is_here(runtime, wanted):
        built_for = ", ".join(name for name, record in EXECUTION_PROVIDERS.items() if is_here(runtime, record))
        found = f"not in this build of onnxruntime {runtime.__version__} (it has: {built_for})"
        raise ProviderError(where, found, wanted.how_to_get)
    options = session_options(opening.cores)
    # The written graph holds no shape arithmetic: every node can run on an accelerator, so none may fall back.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    built_in = is_built_in(runtime, wanted)
    if built_in and (cause := load_failure(runtime, wanted)):
        raise ProviderError(where, f"does not load ({cause})", wanted.how_to_run)
    with opening.kept_engines(wanted, kind) as kept:
        own = {**wanted.options(opening.wanted(kind, plug_in=not built_in, kept=kept.path)), **opening.own}
        if built_in:
            session = _create(opening, wanted, options, providers=[(wanted.full_name, own)])
        else:
            session = _create_plugged(opening, wanted, kind, options, own)
        if session.get_providers()[0] != wanted.full_name:
            raise ProviderError(where, "onnxruntime would not start it", wanted.how_to_run)
    threads, runs = opening.share() if kind == "cpu" else (None, 1)
    return OpenedSession(
        session=session,
        provider=wanted.full_name,
        choice=wanted.named(kind),
        threads=threads,
        runs=runs,
        note=kept.note,
    )


def _create_plugged(
    opening: _Opening, wanted: ExecutionProvider, kind: Kind, options: ort.SessionOptions, own: dict[str, str]
) -> ort.InferenceSession:
    """Makes a session on a plug-in's first device of a kind."""
    assert wanted.plug_in is not None  # noqa: S101 - else `is_here` had said no
    found = plugged_devices(opening.runtime, wanted, wanted.plug_in, kind)
    if not found:
        raise ProviderError(f"provider '{wanted.name}'", f"finds no {KIND_NAMES[kind]} here", wanted.how_to_run)
    options.add_provider_for_devices(found[:1], own)
    return _create(opening, wanted, options)


def _create(
    opening: _Opening, wanted: ExecutionProvider, options: ort.SessionOptions, **providers: Any
) -> ort.InferenceSession:
    runtime, path = opening.runtime, opening.path
    opening.facts.check()
    try:
        for key, value in opening.entries.items():
            options.add_session_config_entry(key, value)
        # Without enable_fallback=0 the Python wrapper prints the cause and tries again on the CPU.
        session = runtime.InferenceSession(str(path), options, **providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        reason = one_line(error)
        if wanted is CPU:
            raise ArtifactError(path, f"onnxruntime {runtime.__version__} cannot load it: {reason}") from error
        raise ProviderError(f"provider '{wanted.name}'", f"cannot run {path}: {reason}", wanted.how_to_run) from error
    release_freed_memory()
    return session
