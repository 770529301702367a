"""onnxruntime itself: importing it, keeping it quiet, and which providers it has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from vit_runtime.devices.crashes import check_release
from vit_runtime.devices.plugins import is_installed, is_registered
from vit_runtime.devices.providers import ExecutionProvider
from vit_runtime.errors import MissingDependencyError, ProviderError
from vit_runtime.installed import installed_version

_NO_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
"""Environment variable that onnxruntime reads once (Privacy.md in its wheel)."""
LOG_NOTHING: Final = 4
"""onnxruntime's severity "fatal": what it would print below that also comes as an exception, which becomes one line."""


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable inside the block, unless it is set already."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def import_onnxruntime() -> Any:
    """Imports onnxruntime only when it is needed, so that `import vit_runtime` is quick and works without it.

    onnxruntime reports to its maker by default, from 1.32 at the latest, and writes an identifier into the user's cache
    folder when it is imported. Here it does neither, unless `ORT_DISABLE_TELEMETRY` is set by the user, or it was
    imported before.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
        ProviderError: the onnxruntime that is installed does not load, is known to crash here, or there is none
            for 32-bit systems.
    """
    if "onnxruntime" not in sys.modules:
        check_release()
    try:
        with _environment(_NO_TELEMETRY, "1"):
            import onnxruntime
    except ImportError as error:
        if error.name != "onnxruntime":
            raise ProviderError("onnxruntime", f"does not load ({error})", "install it again") from error
        if sys.maxsize < 1 << 32:
            remedy = "install the 64-bit system, where `getconf LONG_BIT` prints 64"
            raise ProviderError("onnxruntime", "does not exist for 32-bit systems, and this is one", remedy) from None
        raise MissingDependencyError("onnxruntime", "vit-edge[cpu]") from None
    return onnxruntime


def silence_onnxruntime() -> None:
    """Makes onnxruntime print nothing in this process; for programs only, since other code may use onnxruntime too.

    onnxruntime also prints beside its exceptions and outside of sessions, and has no other switch for that.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    import_onnxruntime().set_default_logger_severity(LOG_NOTHING)


def is_built_in(runtime: Any, wanted: ExecutionProvider) -> bool:
    """Whether a provider was compiled into onnxruntime, as in builds that exclude each other."""
    # A plug-in is "available" to onnxruntime, too, once its library is registered.
    return wanted.full_name in runtime.get_available_providers() and not is_registered(runtime, wanted)


def is_here(runtime: Any, wanted: ExecutionProvider) -> bool:
    """Whether a provider is installed, built in or as a plug-in; it may still not run."""
    return is_built_in(runtime, wanted) or (wanted.plug_in is not None and is_installed(wanted.plug_in))


def source_of(runtime: Any, wanted: ExecutionProvider) -> str:
    """What brings a provider that is here, with its version: "onnxruntime 1.32.0", "onnxruntime-ep-openvino 1.8.1"."""
    if wanted.plug_in is None or is_built_in(runtime, wanted):
        return f"onnxruntime {runtime.__version__}"
    return f"{wanted.plug_in.distribution} {installed_version(wanted.plug_in.distribution)}".strip()
