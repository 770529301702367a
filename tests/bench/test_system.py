"""What vit-bench does where Python lacks POSIX's names: imports, measures, and leaves no process behind.

Nothing here has run on Windows. Its lack of names is made in other interpreters, and its `kernel32` is a stand-in for
ctypes' library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from vit_bench.contenders import process as processes
from vit_bench.contenders.worker import peak_bytes
from vit_bench.documents import read_results
from vit_runtime.errors import VitEdgeError

WITHOUT_POSIX = """
import os, signal, subprocess, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name in ("resource", "fcntl"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
for name in ("killpg", "getpgid", "setsid", "geteuid", "sched_getaffinity", "sysconf"):
    if hasattr(os, name):
        delattr(os, name)
if hasattr(signal, "SIGKILL"):
    # Windows' own way to end a process needs no signal; here there is no other.
    subprocess.Popen.kill = lambda self, number=int(signal.SIGKILL): self.send_signal(number)
    del signal.SIGKILL

original = subprocess.Popen.__init__

def start(self, *args, preexec_fn=None, start_new_session=False, **options):
    if preexec_fn is not None:
        raise ValueError("preexec_fn is not supported on Windows platforms")
    original(self, *args, **options)

subprocess.Popen.__init__ = start
"""
"""A sitecustomize that makes an interpreter, and all that it starts, lack what Windows' Python lacks."""
WORKER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
child.wait()
"""
SMALL_PARENT = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@pytest.fixture
def lacking(tmp_path: Path) -> dict[str, str]:
    """Environment of interpreters that lack POSIX's names."""
    folder = tmp_path / "lacking"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WITHOUT_POSIX, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


def run(code: str, environment: dict[str, str], *args: object) -> str:
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_alive(pid: int) -> bool:
    """A zombie that only waits for its parent is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ends(pid: int) -> bool:
    """Whether a process ends within some seconds; one that does not is ended here."""
    deadline = time.monotonic() + 5
    while (alive := is_alive(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)  # it gets its signal in its own time
    if alive:
        os.kill(pid, 9)
    return not alive


# An interpreter without POSIX's names.


def test_the_names_are_missing(lacking: dict[str, str]):
    code = """
import importlib.util, os, signal, subprocess, sys
names = ["killpg", "geteuid", "sysconf"]
assert not any(hasattr(os, name) for name in names) and not hasattr(signal, "SIGKILL")
try:
    import resource
except ModuleNotFoundError:
    print("none")
try:
    subprocess.Popen([sys.executable, "-c", ""], preexec_fn=print)
except ValueError as error:
    print(error)
"""
    assert run(code, lacking) == "none\npreexec_fn is not supported on Windows platforms\n"


def test_every_module_imports(lacking: dict[str, str]):
    code = """
import importlib, pkgutil, vit_bench
names = [module.name for module in pkgutil.walk_packages(vit_bench.__path__, "vit_bench.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    assert int(run(code, lacking)) > 20


def test_the_benchmark_measures(lacking: dict[str, str], tiny_artifact: Path, photos: list[Path], tmp_path: Path):
    """Latency, footprint and limit, each in processes that lack the names as well; memory is read from /proc here."""
    output = tmp_path / "results.json"
    options = ("--against", "none", "--seconds", 0.2, "--rounds", 1, "--photo", photos[0], "-o", output)
    run("from vit_bench.cli import main; main()", lacking, "all", tiny_artifact, *options)
    results = read_results(output)
    assert [len(part) for part in (results.latency, results.footprint, results.limit)] == [1, 1, 1]
    assert results.footprint[0].contenders[0].peak_bytes.median > tiny_artifact.stat().st_size
    assert (results.card.memory_bytes, results.card.load) == (None, None)
    assert results.card.processors == os.cpu_count()


def test_a_process_that_fails_says_why(lacking: dict[str, str]):
    code = """
from vit_bench.errors import ContenderError
from vit_bench.contenders.process import run_module
try:
    run_module("the contender", "vit_bench.contenders.worker", "no JSON")
except ContenderError as error:
    print(error)
"""
    assert "Expecting value: line 1 column 1" in run(code, lacking)


def test_a_process_ends_where_there_is_not_even_psutil(lacking: dict[str, str]):
    code = """
import sys
from vit_bench.contenders import process
sys.modules["psutil"] = None
waiting = process.start([sys.executable, "-c", "input()"], None)
assert waiting.poll() is None
process.end(waiting)
print(waiting.returncode != 0)
"""
    assert run(code, lacking) == "True\n"


# The end of a process and of what it has started.


@needs_proc
@pytest.mark.parametrize("has_groups", [True, False], ids=["with killpg", "with psutil"])
def test_children_end_with_their_process(has_groups: bool, monkeypatch: pytest.MonkeyPatch):
    if not has_groups:
        monkeypatch.delattr(os, "killpg", raising=False)
    process = processes.start([sys.executable, "-c", WORKER], subprocess.DEVNULL)
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        child = int(process.stdout.readline())
        assert is_alive(child)
        processes.end(process)
        assert process.returncode == -signal.SIGKILL
        assert ends(child)


@needs_proc
def test_a_process_that_has_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    """Its number may be another one's by now."""
    monkeypatch.delattr(os, "killpg", raising=False)
    process = processes.start([sys.executable, "-c", ""], subprocess.DEVNULL)
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        process.wait()
        processes.end(process)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (7, "exit status 7"),
        (1, "exit status 1"),
        (0xC0000005, "exit status 0xC0000005"),
        (0xC0000135, "exit status 0xC0000135"),
    ],
)
def test_exit_statuses_of_windows_are_no_signals(status: int, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(signal, "SIGKILL", raising=False)
    assert processes.bad_end(status) == said


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="names signals of Linux")
def test_signals_are_named_where_there_are_some():
    assert processes.bad_end(-signal.SIGSEGV) == "was ended by SIGSEGV"
    assert processes.bad_end(-signal.SIGKILL) == "was ended by SIGKILL, as the system does where memory is short"
    assert processes.bad_end(-(signal.SIGRTMIN + 1)) == f"was ended by signal {signal.SIGRTMIN + 1}"


def test_only_a_pipe_without_a_reader_is_passed_over():
    """Windows says EINVAL; see `Popen.communicate` of Python's own subprocess."""
    for number in (errno.EPIPE, errno.EINVAL):
        with processes.reader_may_have_ended():
            raise OSError(number, os.strerror(number))
    with pytest.raises(OSError, match="No space"), processes.reader_may_have_ended():
        raise OSError(errno.ENOSPC, "No space left on device")


# Peak memory.


NO_STATUS = Path("no such status")
"""As where there is no /proc."""


@pytest.mark.parametrize("source", ["as it is", "getrusage"])
def test_memory_that_was_taken_and_freed_counts(source: str):
    """Started by a small process: `getrusage` counts what its parent held before exec, and this one holds much."""
    if source == "getrusage":
        pytest.importorskip("resource")
    status = f"worker.Path({str(NO_STATUS)!r})" if source == "getrusage" else ""
    code = f"""
from vit_bench.contenders import worker
before = worker.peak_bytes({status})
taken = bytearray(b"x") * 200_000_000
del taken
print(before, worker.peak_bytes({status}))
"""
    before, after = map(int, run(SMALL_PARENT, dict(os.environ), sys.executable, "-c", code).split())
    assert after - before == pytest.approx(200e6, rel=0.1)


@pytest.mark.parametrize(("platform", "expected"), [("linux", 5_000_000 * 1024), ("darwin", 5_000_000)])
def test_getrusage_counts_kilobytes_and_on_macos_bytes(platform: str, expected: int, monkeypatch: pytest.MonkeyPatch):
    usage = SimpleNamespace(ru_maxrss=5_000_000)
    fake = SimpleNamespace(RUSAGE_SELF=0, getrusage={0: usage}.__getitem__)
    monkeypatch.setitem(sys.modules, "resource", fake)
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_bytes(NO_STATUS) == expected


class Kernel32:
    """A stand-in that fills the structure by the offsets of 64-bit Windows, and knows no other process than this."""

    THIS = ctypes.c_void_p(-1).value

    def __init__(self, *, works: bool = True) -> None:
        def current() -> int | None:
            return self.THIS

        def read(process: int, counters: object, size: int) -> int:
            assert (process, size) == (self.THIS, 72)
            memory = (ctypes.c_char * size).from_address(ctypes.addressof(counters._obj))
            assert int.from_bytes(memory[:4], sys.byteorder) == 72
            memory[8:16] = (123_456_789_012).to_bytes(8, sys.byteorder)
            memory[16:24] = (5).to_bytes(8, sys.byteorder)
            return int(works)

        self.GetCurrentProcess: Callable[[], int | None] = current
        self.K32GetProcessMemoryInfo: Callable[..., int] = read


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel32], None]:
    def use(kernel32: Kernel32) -> None:
        monkeypatch.setattr(ctypes, "WinDLL", {"kernel32": kernel32}.__getitem__, raising=False)
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setitem(sys.modules, "resource", None)

    return use


@pytest.mark.skipif(sys.maxsize < 2**32, reason="offsets of 64-bit systems")
def test_windows_tells_its_peak_working_set(kernel: Callable[[Kernel32], None]):
    """Offsets by PROCESS_MEMORY_COUNTERS in psapi.h: two DWORDs, then eight SIZE_Ts, the peak first."""
    kernel(Kernel32())
    assert peak_bytes(NO_STATUS) == 123_456_789_012


@pytest.mark.skipif(sys.maxsize < 2**32, reason="offsets of 64-bit systems")
def test_windows_may_refuse_to_tell(kernel: Callable[[Kernel32], None]):
    kernel(Kernel32(works=False))
    with pytest.raises(VitEdgeError, match="peak memory: Windows does not tell it"):
        peak_bytes(NO_STATUS)
