"""Opens an onnxruntime session on the execution provider that was asked for, and on no other.

onnxruntime lists the providers that were compiled in, not those that work, and falls back to the CPU without an
error. Here a provider asked for by name runs the whole graph or raises `ProviderError` with the cause.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from vit_runtime.errors import ArtifactError, MissingDependencyError, ProviderError, UsageError, one_line
from vit_runtime.memory import release_freed_memory
from vit_runtime.processors import default_threads
from vit_runtime.saturation import int8_products_saturate

if TYPE_CHECKING:
    import onnxruntime as ort

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml"]
PROVIDERS: Final[tuple[Provider, ...]] = get_args(Provider)

CPU_PROVIDER: Final = "CPUExecutionProvider"
"""onnxruntime's name of its own provider for processors."""
_EXECUTION_PROVIDERS: Final[dict[str, str]] = {
    "cpu": CPU_PROVIDER,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
_HOW_TO_GET: Final[dict[str, str]] = {
    "cuda": "install vit-edge[gpu] in an environment without vit-edge[cpu]; on a Jetson, NVIDIA's own wheel",
    "tensorrt": "install vit-edge[gpu] in an environment without vit-edge[cpu], and TensorRT",
    "openvino": "install vit-edge[openvino] in an environment without vit-edge[cpu]",
    "coreml": "use vit-edge[cpu] on macOS",
}
"""For a build of onnxruntime without the provider."""
_HOW_TO_RUN: Final[dict[str, str]] = {
    "cuda": "see that the driver works (nvidia-smi) and CUDA is there: pip install 'onnxruntime-gpu[cuda,cudnn]'",
    "tensorrt": "see that the driver works (nvidia-smi) and that TensorRT's libraries are installed",
    "openvino": "try --provider cpu",
    "coreml": "try --provider cpu",
}
"""For a provider that is compiled in and does not run."""
# TF32 would round fp32 products to 10 bits of mantissa: not the answers of the reference.
_OPTIONS: Final[dict[str, dict[str, str]]] = {"cuda": {"use_tf32": "0"}}
_NEED_CUDA: Final = ("cuda", "tensorrt")
_EXACT: Final = "this processor has no VNNI: exact but slower int8 kernels"
_LOG_NOTHING: Final = 4
"""Severity "fatal": whatever onnxruntime would print also comes as an exception, which becomes one line."""


@dataclass(frozen=True, kw_only=True)
class OpenedSession:
    """A session, and what it really runs on."""

    session: ort.InferenceSession
    provider: str
    """onnxruntime's name of the execution provider that computes the graph."""
    threads: int | None
    """Processor cores that it uses; None for an accelerator, which schedules itself."""
    note: str
    """Why `auto` did not take an accelerator that is compiled in; empty where there is nothing to say."""


def open_session(
    path: Path, *, provider: Provider = "auto", threads: int | None = None, int8: bool = False
) -> OpenedSession:
    """Loads an ONNX file.

    Args:
        path: the file; weights in a file of their own lie beside it.
        int8: whether it multiplies integers: then processors whose fast kernels saturate get exact ones.
        provider: an execution provider by name, or "auto": CUDA where it works, else the CPU.
        threads: how many processor cores to use on the CPU; None for the physical performance cores.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
        UsageError: the number of threads is below 1, or the provider takes none.
        ProviderError: the provider is unknown, not compiled in, or cannot run this file on this machine.
        ArtifactError: onnxruntime cannot load the file.
    """
    runtime = import_onnxruntime()
    if provider not in PROVIDERS:
        raise ProviderError(f"provider '{provider}'", "unknown", f"choose one of {', '.join(PROVIDERS)}")
    if threads is not None and threads < 1:
        raise UsageError("threads", f"{threads} is too few", "give at least 1, or none for the default")
    available = runtime.get_available_providers()
    if provider == "auto":
        return _open_auto(path, threads, available, int8=int8)
    if provider == "cpu":
        threads = threads or default_threads()
        exact = int8 and int8_products_saturate()
        session = _create(runtime, path, provider, threads, exact_int8=exact)
        return OpenedSession(session=session, provider=CPU_PROVIDER, threads=threads, note=_EXACT if exact else "")
    if threads is not None:
        raise UsageError("threads", f"cannot be set for {provider}, which schedules itself", "leave it out")
    execution_provider = _EXECUTION_PROVIDERS[provider]
    if execution_provider not in available:
        built_for = ", ".join(name for name, full in _EXECUTION_PROVIDERS.items() if full in available)
        raise ProviderError(
            f"provider '{provider}'",
            f"not in this build of onnxruntime {runtime.__version__} (it has: {built_for})",
            _HOW_TO_GET[provider],
        )
    if cause := _load_failure(runtime, provider):
        raise ProviderError(f"provider '{provider}'", f"does not load ({cause})", _HOW_TO_RUN[provider])
    session = _create(runtime, path, provider, default_threads())
    if session.get_providers()[0] != execution_provider:
        raise ProviderError(f"provider '{provider}'", "onnxruntime would not start it", _HOW_TO_RUN[provider])
    return OpenedSession(session=session, provider=execution_provider, threads=None, note="")


def import_onnxruntime() -> Any:
    """The onnxruntime module; imported late, so that `import vit_runtime` is quick and works without it.

    It is told to print nothing in the whole process: what it prints beside its exceptions has no other switch.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        if error.name != "onnxruntime":
            raise ProviderError("onnxruntime", f"does not load ({error})", "install it again") from error
        raise MissingDependencyError("onnxruntime", "vit-edge[cpu]") from None
    onnxruntime.set_default_logger_severity(_LOG_NOTHING)
    return onnxruntime


def _open_auto(path: Path, threads: int | None, available: list[str], *, int8: bool) -> OpenedSession:
    note = ""
    if _EXECUTION_PROVIDERS["cuda"] in available:
        try:
            opened = open_session(path, provider="cuda")
            return replace(opened, note="" if threads is None else "threads are for the CPU: not used")
        except ProviderError as error:
            note = f"CUDA is compiled in but not used: {error.what}"
    opened = open_session(path, provider="cpu", threads=threads, int8=int8)
    return replace(opened, note="; ".join(filter(None, (note, opened.note))))


def session_options(threads: int, *, exact_int8: bool = False) -> ort.SessionOptions:
    """How sessions are set up here: so many threads, silent, and quiet between pictures.

    Args:
        threads: processor cores, at least 1.
        exact_int8: whether to take slower int8 kernels that do not saturate.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    options: ort.SessionOptions = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _LOG_NOTHING
    # Workers may spin while a picture is computed, for speed, but leave the processor alone between pictures.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if exact_int8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _create(runtime: Any, path: Path, provider: str, threads: int, *, exact_int8: bool = False) -> ort.InferenceSession:
    options = session_options(threads, exact_int8=exact_int8)
    if provider != "cpu":
        # The written graph holds no shape arithmetic: every node can run on an accelerator, so none may fall back.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    execution_provider = (_EXECUTION_PROVIDERS[provider], _OPTIONS.get(provider, {}))
    try:
        # Without enable_fallback=0 the Python wrapper prints the cause and tries again on the CPU.
        session = runtime.InferenceSession(str(path), options, providers=[execution_provider], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        reason = one_line(error)
        if provider == "cpu":
            raise ArtifactError(path, f"onnxruntime {runtime.__version__} cannot load it: {reason}") from error
        raise ProviderError(f"provider '{provider}'", f"cannot run {path}: {reason}", _HOW_TO_RUN[provider]) from error
    release_freed_memory()
    return session


def _load_failure(runtime: Any, provider: str) -> str:
    """Why a provider's library does not load, in the linker's words; empty where it does.

    onnxruntime prints this to the error stream from C++ and goes on with the CPU.
    """
    folder = Path(runtime.__file__).parent / "capi"
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    prefix = "" if sys.platform == "win32" else "lib"
    library = folder / f"{prefix}onnxruntime_providers_{provider}{suffix}"
    if not library.is_file():
        return ""
    if provider in _NEED_CUDA and hasattr(runtime, "preload_dlls"):
        # Finds CUDA and cuDNN where pip has put them; prints what it does not find, which is reported below.
        with contextlib.redirect_stdout(io.StringIO()):
            runtime.preload_dlls()
    try:
        ctypes.CDLL(str(folder / f"{prefix}onnxruntime_providers_shared{suffix}"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""
