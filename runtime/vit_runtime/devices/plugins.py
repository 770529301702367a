"""Execution providers that come as plug-ins: libraries in packages of their own, beside the ordinary onnxruntime."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from typing import Any, Final

from vit_runtime.devices.options import Kind
from vit_runtime.devices.providers import ExecutionProvider, PlugIn
from vit_runtime.errors import ProviderError, one_line
from vit_runtime.installed import installed_version

_REGISTERING: Final = threading.Lock()
"""onnxruntime keeps one list of libraries for the whole process."""
_REGISTERED: Final[set[tuple[str, str]]] = set()
"""Provider and library of what was registered from here: a library without a device for this machine is there all the
same, and onnxruntime refuses a second registration."""


def is_installed(plug_in: PlugIn) -> bool:
    """Whether Python finds a plug-in's package; nothing of it is loaded."""
    return importlib.util.find_spec(plug_in.module) is not None


def is_registered(runtime: Any, provider: ExecutionProvider) -> bool:
    """Whether a provider's library was registered with onnxruntime in this process, from here or by other code."""
    if any(name == provider.full_name for name, _ in _REGISTERED):
        return True
    # Older versions of onnxruntime, which take no plug-ins, list no devices either.
    if not hasattr(runtime, "get_ep_devices"):
        return False
    return any("library_path" in device.ep_metadata for device in _devices(runtime, provider, None))


def plugged_devices(runtime: Any, provider: ExecutionProvider, plug_in: PlugIn, kind: Kind | None = None) -> list[Any]:
    """Finds the devices of a plug-in, as onnxruntime's own `OrtEpDevice`; loads its library at the first call.

    Args:
        runtime: the onnxruntime module.
        provider: the provider that the plug-in brings.
        plug_in: its package.
        kind: the kind of device; None for all.

    Raises:
        ProviderError: this onnxruntime takes no plug-ins, the package is broken, or its library does not load.
    """
    where = f"provider '{provider.name}'"
    if not hasattr(runtime, "register_execution_provider_library"):
        what = f"onnxruntime {runtime.__version__} takes no plug-ins"
        raise ProviderError(where, what, "install onnxruntime 1.23 or newer")
    with _REGISTERING:
        if not _devices(runtime, provider, None):
            _register(runtime, provider, plug_in)
    return _devices(runtime, provider, kind)


def _devices(runtime: Any, provider: ExecutionProvider, kind: Kind | None) -> list[Any]:
    own = [device for device in runtime.get_ep_devices() if device.ep_name == provider.full_name]
    return [device for device in own if kind is None or device.device.type.name.lower() == kind]


def _register(runtime: Any, provider: ExecutionProvider, plug_in: PlugIn) -> None:
    where, package = f"provider '{provider.name}'", plug_in.distribution
    try:
        library = importlib.import_module(plug_in.module).get_library_path()
    except Exception as error:  # whatever a foreign package does when it is imported
        raise ProviderError(where, f"{package} is broken ({one_line(error)})", "install it again") from error
    if (registering := (provider.full_name, str(library))) in _REGISTERED:
        return
    try:
        runtime.register_execution_provider_library(*registering)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        what = f"{package} {installed_version(plug_in.distribution)} does not load ({one_line(error)})"
        remedy = f"see that it fits onnxruntime {runtime.__version__}: pip install -U onnxruntime {package}"
        raise ProviderError(where, what, remedy) from error
    _REGISTERED.add(registering)
