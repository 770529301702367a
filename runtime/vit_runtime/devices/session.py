"""Opens an onnxruntime session on the execution provider that was asked for, and on no other.

onnxruntime lists the providers that were compiled in, not those that work, and falls back to the CPU without an
error. Here a provider asked for by name runs the whole graph or raises `ProviderError` with the cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vit_runtime.checks import text_by_text, whole_number
from vit_runtime.devices.libraries import load_failure
from vit_runtime.devices.memory import release_freed_memory
from vit_runtime.devices.providers import CPU, CUDA, EXECUTION_PROVIDERS, PROVIDERS, ExecutionProvider, Provider
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.threads import default_threads
from vit_runtime.errors import ArtifactError, MissingDependencyError, ProviderError, UsageError, one_line, option

if TYPE_CHECKING:
    import onnxruntime as ort

_EXACT: Final = "this processor has no VNNI: exact but slower int8 kernels"
_MOST_THREADS: Final = 1024
LOG_NOTHING: Final = 4
"""onnxruntime's severity "fatal": what it would print below that also comes as an exception, which becomes one line."""


@dataclass(frozen=True, kw_only=True)
class OpenedSession:
    """A session, and what it really runs on."""

    session: ort.InferenceSession
    provider: str
    """onnxruntime's name of the execution provider that computes the graph."""
    threads: int | None
    """Processor cores that the session uses; None for an accelerator, which schedules itself."""
    note: str
    """What a user should know, such as why `auto` did not take an accelerator that is compiled in; else empty."""


def open_session(
    path: Path,
    *,
    provider: Provider = "auto",
    threads: int | None = None,
    int8: bool = False,
    device: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    session_options: Mapping[str, str] | None = None,
) -> OpenedSession:
    """Opens a session that runs an ONNX file on an execution provider.

    Args:
        path: the file; weights in a file of their own lie beside it.
        provider: an execution provider by name, or "auto": CUDA where it works, else the CPU.
        threads: how many processor cores to use on the CPU; None for the physical performance cores.
        int8: whether the graph multiplies integers; processors whose fast kernels saturate then use exact ones.
        device: number of the GPU, for CUDA and TensorRT; None is onnxruntime's choice, the first.
        provider_options: further options for a provider that is named, as onnxruntime spells them.
        session_options: further configuration entries for the session, as onnxruntime spells them.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
        UsageError: the number of threads is not from 1 to 1024, or the provider takes no threads, device or options.
        ProviderError: the provider is unknown, not compiled in, or cannot run this file on this machine.
        ArtifactError: onnxruntime cannot load the file.
    """
    entries = text_by_text("session_options", session_options)
    opening = _Opening(runtime=import_onnxruntime(), path=path, entries=entries)
    if provider not in PROVIDERS:
        raise ProviderError(f"provider '{provider}'", "unknown", f"choose one of {', '.join(PROVIDERS)}")
    _check_threads(threads, provider)
    wanted = EXECUTION_PROVIDERS.get(provider)
    own = _own_options(wanted, device, provider_options)
    if wanted is None:
        return _open_auto(opening, threads, int8=int8)
    if wanted is CPU:
        return _open_cpu(opening, threads, own, int8=int8)
    return _open_accelerator(opening, wanted, own)


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """The parts that every way to open a session needs."""

    runtime: Any
    """The onnxruntime module."""
    path: Path
    entries: dict[str, str]
    """The caller's configuration entries."""


def _check_threads(threads: int | None, provider: Provider) -> None:
    if threads is None:
        return
    whole_number("threads", threads, least=1, most=_MOST_THREADS)
    if provider not in ("auto", "cpu"):
        raise UsageError(option("threads"), f"cannot be set for {provider}, which schedules itself", "leave it out")


def _own_options(
    wanted: ExecutionProvider | None, device: int | None, options: Mapping[str, str] | None
) -> dict[str, str]:
    """Gives a provider's options: ours, overridden by the caller's; "auto" has none."""
    if options and wanted is None:
        raise UsageError(option("provider_options"), "are for one provider", f"name it with {option('provider')}")
    number: dict[str, str] = {}
    if device is not None:
        if wanted is None or not wanted.numbered:
            numbered = " and ".join(record.name for record in EXECUTION_PROVIDERS.values() if record.numbered)
            raise UsageError(option("device"), f"is for {numbered}", f"add {option('provider', 'cuda')}")
        number = {"device_id": str(whole_number("device", device, least=0))}
    ours = {} if wanted is None else wanted.options
    return {**ours, **number, **text_by_text("provider_options", options)}


def import_onnxruntime() -> Any:
    """Imports onnxruntime only when it is needed, so that `import vit_runtime` is quick and works without it.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
        ProviderError: the onnxruntime that is installed does not load.
    """
    try:
        import onnxruntime
    except ImportError as error:
        if error.name != "onnxruntime":
            raise ProviderError("onnxruntime", f"does not load ({error})", "install it again") from error
        raise MissingDependencyError("onnxruntime", "vit-edge[cpu]") from None
    return onnxruntime


def silence_onnxruntime() -> None:
    """Makes onnxruntime print nothing in this process; for programs only, since other code may use onnxruntime too.

    onnxruntime also prints beside its exceptions and outside of sessions, and has no other switch for that.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    import_onnxruntime().set_default_logger_severity(LOG_NOTHING)


def _open_auto(opening: _Opening, threads: int | None, *, int8: bool) -> OpenedSession:
    note = ""
    if CUDA.full_name in opening.runtime.get_available_providers():
        try:
            opened = _open_accelerator(opening, CUDA, CUDA.options)
            return replace(opened, note="" if threads is None else "threads are for the CPU: not used")
        except ProviderError as error:
            note = f"CUDA is compiled in but not used: {error.what}"
    opened = _open_cpu(opening, threads, CPU.options, int8=int8)
    return replace(opened, note="; ".join(filter(None, (note, opened.note))))


def _open_cpu(opening: _Opening, threads: int | None, own: Mapping[str, str], *, int8: bool) -> OpenedSession:
    threads = threads or default_threads()
    exact = int8 and int8_products_saturate()
    session = _create(opening, CPU, own, session_options(threads, exact_int8=exact))
    return OpenedSession(session=session, provider=CPU.full_name, threads=threads, note=_EXACT if exact else "")


def _open_accelerator(opening: _Opening, wanted: ExecutionProvider, own: Mapping[str, str]) -> OpenedSession:
    runtime, where = opening.runtime, f"provider '{wanted.name}'"
    available = runtime.get_available_providers()
    if wanted.full_name not in available:
        built_for = ", ".join(name for name, record in EXECUTION_PROVIDERS.items() if record.full_name in available)
        found = f"not in this build of onnxruntime {runtime.__version__} (it has: {built_for})"
        raise ProviderError(where, found, wanted.how_to_get)
    if cause := load_failure(runtime, wanted):
        raise ProviderError(where, f"does not load ({cause})", wanted.how_to_run)
    options = session_options(default_threads())
    # The written graph holds no shape arithmetic: every node can run on an accelerator, so none may fall back.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = _create(opening, wanted, own, options)
    if session.get_providers()[0] != wanted.full_name:
        raise ProviderError(where, "onnxruntime would not start it", wanted.how_to_run)
    return OpenedSession(session=session, provider=wanted.full_name, threads=None, note="")


def session_options(threads: int, *, exact_int8: bool = False) -> ort.SessionOptions:
    """Makes a session's options: its number of threads, no log, and no spinning between pictures.

    Args:
        threads: processor cores, at least 1.
        exact_int8: whether to use slower int8 kernels that do not saturate.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    options: ort.SessionOptions = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = LOG_NOTHING
    # Workers may spin while a picture is computed, for speed, but leave the processor alone between pictures.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if exact_int8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _create(
    opening: _Opening, wanted: ExecutionProvider, own: Mapping[str, str], options: ort.SessionOptions
) -> ort.InferenceSession:
    runtime, path = opening.runtime, opening.path
    providers = [(wanted.full_name, dict(own))]
    try:
        for key, value in opening.entries.items():
            options.add_session_config_entry(key, value)
        # Without enable_fallback=0 the Python wrapper prints the cause and tries again on the CPU.
        session = runtime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        reason = one_line(error)
        if wanted is CPU:
            raise ArtifactError(path, f"onnxruntime {runtime.__version__} cannot load it: {reason}") from error
        raise ProviderError(f"provider '{wanted.name}'", f"cannot run {path}: {reason}", wanted.how_to_run) from error
    release_freed_memory()
    return session
