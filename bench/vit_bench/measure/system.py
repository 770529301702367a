"""What differs between Linux, macOS and Windows: a process's end, with all it has started, and its peak memory.

What is done on Windows follows its documentation, and is tested with stand-ins for its calls: it has not run there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from vit_runtime.errors import VitEdgeError

_STATUS: Final = Path("/proc/self/status")
_NEW_GROUP: Final[int] = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
_FIRST_CODE: Final = 0x80000000
"""From here on an exit status of Windows is an error code, as 0xC0000005 for a read of foreign memory."""


def start(command: list[str], *, stderr: IO[bytes], environment: Mapping[str, str] | None) -> subprocess.Popen[str]:
    """Starts a process that Ctrl-C does not reach, with pipes to its standard input and from its standard output.

    It leads a session of its own (POSIX) or a group of its own (Windows); the other system's option has no effect.
    """
    return subprocess.Popen(  # noqa: S603 - our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        start_new_session=True,
        creationflags=_NEW_GROUP,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process that `start` has started, together with whatever it has started itself.

    Windows finds those by way of their parents: what a process leaves behind that has ended already goes on there.
    """
    if hasattr(os, "killpg") and hasattr(signal, "SIGKILL"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        _end_tree(process)
    process.wait()


def _end_tree(process: subprocess.Popen[str]) -> None:
    children = []
    with contextlib.suppress(ImportError):  # what starts processes is torch.compile, whose extra brings psutil
        import psutil

        with contextlib.suppress(psutil.Error):
            children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()


@contextlib.contextmanager
def reader_may_have_ended() -> Iterator[None]:
    """Passes over what a pipe says when nobody reads it any more: `BrokenPipeError`, on Windows also `EINVAL`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EINVAL):
            raise


def bad_end(status: int) -> str:
    """How a process ended whose exit status is not 0: "was ended by SIGTERM", "exit status 7".

    Windows knows no signals: a process that was ended there has an exit status like any other.
    """
    if status >= _FIRST_CODE:
        return f"exit status 0x{status:08X}"
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # real-time signals have none
        name = f"signal {-status}"
    memory = ", as the system does where memory is short" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"


def say_errors_in_utf8() -> None:
    """For a process whose errors another one of ours reads: Windows would write them to a pipe in cp1252."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8")


def peak_bytes(status: Path = _STATUS) -> int:
    """The largest resident memory of this process so far.

    From /proc/self/status (Linux), GetProcessMemoryInfo's PeakWorkingSetSize (Windows), else `getrusage`, which on
    Linux would count the parent's before exec as well. See proc(5), getrusage(2).

    Raises:
        VitEdgeError: Windows does not tell.
    """
    try:
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return _peak_working_set(ctypes.WinDLL("kernel32"))
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024  # bytes on macOS, kilobytes elsewhere


class _MemoryCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of Windows' psapi.h."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("seven_more", ctypes.c_size_t * 7),
    )


def _peak_working_set(kernel: Any) -> int:
    """Asks the kernel under the name that it gives GetProcessMemoryInfo since Windows 7."""
    current, read = kernel.GetCurrentProcess, kernel.K32GetProcessMemoryInfo
    current.restype, current.argtypes = ctypes.c_void_p, ()
    read.restype = ctypes.c_int
    read.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MemoryCounters), ctypes.c_uint32)
    counters = _MemoryCounters(cb=ctypes.sizeof(_MemoryCounters))
    if not read(current(), ctypes.byref(counters), counters.cb):
        raise VitEdgeError("peak memory", "Windows does not tell it")
    return int(counters.PeakWorkingSetSize)
