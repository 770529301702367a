"""Prepared copies: has onnxruntime write one, its optimised graph and its packed weights, and finds it again."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

from vit_runtime.artifact import Precision
from vit_runtime.cache.copies import GRAPH, WEIGHTS, Circumstances, FoundCopy, find_copy
from vit_runtime.cache.engines import engine_folder
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.hardware import cpuinfo, processor_name
from vit_runtime.devices.saturation import int8_products_saturate
from vit_runtime.devices.session import Kept
from vit_runtime.devices.settings import session_options
from vit_runtime.errors import ArtifactError, ProviderError, one_line

_ENTRIES: Final = {
    "session.save_external_prepacked_constant_initializers": "1",
    "session.optimized_model_external_initializers_file_name": WEIGHTS,
    # Smaller tensors stay in the graph: a mapped page is 4 KB.
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}
_PACKED: Final = b"prepacked_"
"""How the keys begin under which onnxruntime notes packed weights in a graph."""
_FIRST: Final = "1.21"
"""The first onnxruntime that does."""


def circumstances() -> Circumstances:
    """What a copy that is made here and now belongs to.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    facts = cpuinfo()
    sets = facts.get("flags") or facts.get("Features", "")
    return Circumstances(
        processor=f"{processor_name()} {zlib.crc32(sets.encode()):08x}",
        onnxruntime=import_onnxruntime().__version__,
    )


def kept_of(digest: str, *, whole: bool = False) -> Kept:
    """What the cache folder holds of the model file that carries a digest.

    Args:
        digest: the digest, in hexadecimal.
        whole: whether to read a whole copy and compare its SHA-256.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    return Kept(engines=engine_folder(digest), copy=find_copy(digest, circumstances(), whole=whole))


def write_copy(path: Path, folder: Path, precision: Precision) -> FoundCopy:
    """Writes a model file's copy into a folder, and gives it.

    Raises:
        ArtifactError: onnxruntime cannot load the file, or cannot write its copy.
        ProviderError: this onnxruntime packs nothing in advance.
    """
    runtime = import_onnxruntime()
    exact = precision == "int8" and int8_products_saturate()
    options = session_options(1, exact_int8=exact)
    options.optimized_model_filepath = str(folder / GRAPH)
    for key, value in _ENTRIES.items():
        options.add_session_config_entry(key, value)
    try:
        runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise ArtifactError(path, f"onnxruntime cannot prepare it: {one_line(error)}") from error
    if not (folder / WEIGHTS).is_file() or _PACKED not in (folder / GRAPH).read_bytes():
        what = f"onnxruntime {runtime.__version__} keeps no packed weights"
        raise ProviderError("prepared copy", what, f"install onnxruntime {_FIRST} or newer")
    return FoundCopy(folder=folder, note="", exact_int8=exact)
