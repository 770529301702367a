"""The settings that all our onnxruntime sessions share, and what one of them lets a session tell afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from vit_runtime.devices.engine import LOG_NOTHING, import_onnxruntime

if TYPE_CHECKING:
    import onnxruntime as ort


def session_options(threads: int, *, exact_int8: bool = False, optimized: bool = False) -> ort.SessionOptions:
    """Makes a session's options: its number of threads, no log, and no spinning between pictures.

    Args:
        threads: processor cores, at least 1.
        exact_int8: whether to use slower int8 kernels that do not saturate.
        optimized: whether the graph is optimised already.

    Raises:
        MissingDependencyError: no onnxruntime is installed.
    """
    runtime = import_onnxruntime()
    options: ort.SessionOptions = runtime.SessionOptions()
    if optimized:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = LOG_NOTHING
    # Workers may spin while a picture is computed, for speed, but leave the processor alone between pictures.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if exact_int8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def placement(session: ort.InferenceSession) -> dict[str, int]:
    """Counts the graph's nodes by the provider that runs them, by onnxruntime's names.

    It is empty before onnxruntime 1.24, and for sessions with other options than `session_options`.
    """
    counted: dict[str, int] = {}
    if hasattr(session, "get_provider_graph_assignment_info"):
        with suppress(Exception):  # without the entry onnxruntime raises, in a class of its own
            for part in session.get_provider_graph_assignment_info():
                counted[part.ep_name] = counted.get(part.ep_name, 0) + len(part.get_nodes())
    return counted
