"""The card of a run: this machine, made-up ones, and what else a machine was doing."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import sys
import time
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pytest

from vit_bench.measure.card import LoadMeter, installed, now, read_card
from vit_bench.results import Card, Load, Package
from vit_runtime.artifact import codec
from vit_runtime.devices.threads import logical_processors

STARTED = datetime(2025, 3, 4, 5, 6, 7, 890_000, tzinfo=timezone.utc)
PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

processor\t: 1
CPU part\t: 0xd03
"""
SERVER = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz
flags\t\t: fpu vme sse2 avx f16c avx2 avx512f avx512dq avx512_vnni
bugs\t\t: spectre_v1: and others

processor\t: 1
model name\t: another
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's tables")


BOARD, CPUINFO, STAT = "proc/device-tree/model", "proc/cpuinfo", "proc/stat"
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder that stands for the root of a system; no tables are in it at first."""
    for name in (BOARD, CPUINFO, STAT, GOVERNOR):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    return tmp_path


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Mac the processor's name comes from elsewhere."""
    monkeypatch.setattr(sys, "platform", "linux")


def read(device: str | None = None, load: Load | None = None, root: Path = Path("/")) -> Card:
    return read_card(device=device, load=load, started=STARTED, root=root)


# This machine.


def test_the_card_of_this_machine_is_what_python_says_of_it():
    found = read()
    assert found.system.startswith(f"{platform.system()} {platform.release().split('-')[0]}")
    assert found.system.endswith(f", {platform.machine()}")
    assert found.python == platform.python_version()
    assert found.memory_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 1 <= found.cores <= found.processors == logical_processors() <= (os.cpu_count() or 1)
    assert found.device
    assert found.processor
    assert found.date == "2025-03-04T05:06:07+00:00"
    assert datetime.fromisoformat(found.date) == STARTED.replace(microsecond=0)


@on_linux
def test_processors_are_those_open_to_this_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6})
    assert logical_processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert logical_processors() == 12


def test_packages_are_the_installed_ones_with_their_versions():
    found = {package.name: package.version for package in read().packages}
    assert found["numpy"] == version("numpy")
    assert found["torch"] == version("torch")
    assert found.items() >= {(name, version(name)) for name in ("pillow", "onnxruntime", "onnx", "torchvision")}
    assert installed(["no-such-distribution", "pillow"]) == (Package(name="pillow", version=version("pillow")),)


def test_a_device_may_be_called_anything():
    load = Load(others=0.25, stolen=0.0)
    found = read("the one under the stairs", load)
    assert (found.device, found.load) == ("the one under the stairs", load)
    assert read("").device == read().device  # an empty name is none


def test_nothing_on_a_card_names_a_host_a_user_or_a_path():
    """Results are published. Whole words: a host may be called "vm", or as its processor is."""
    found = read()
    texts = [found.device, found.processor, found.system, found.python, found.governor or "", found.date]
    texts += [
        *found.instruction_sets,
        *(text for package in found.packages for text in (package.name, package.version)),
    ]
    assert codec.decode(Card, codec.encode(found)) == found
    words = {word for text in texts for word in re.split(r"[\s,;()]+", text)}
    assert not words & {socket.gethostname(), platform.node(), getpass.getuser()}
    folders = {str(Path.home()), str(Path.cwd()), sys.prefix}
    assert not [text for text in texts if text.startswith(("/", "~")) or any(folder in text for folder in folders)]


def test_now_is_in_utc():
    assert now().utcoffset() == timedelta(0)


# Made-up machines.


@pytest.mark.usefixtures("linux")
def test_a_raspberry_pi_5(files: Path):
    """No name of the processor, and a board whose name ends in a zero byte."""
    (files / CPUINFO).write_text(PI_5)
    (files / BOARD).write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    (files / GOVERNOR).write_text("ondemand\n")
    found = read(root=files)
    assert (found.device, found.processor) == ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76")
    assert found.instruction_sets == ("asimd", "asimdhp", "asimddp")
    assert found.governor == "ondemand"
    assert read("kitchen", root=files).processor == "Cortex-A76"


@pytest.mark.usefixtures("linux")
def test_a_server(files: Path):
    (files / CPUINFO).write_text(SERVER)
    found = read(root=files)
    assert found.device == found.processor == "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz"
    assert found.instruction_sets == ("avx", "avx2", "avx512f", "avx512_vnni")
    assert found.governor is None


@pytest.mark.usefixtures("linux")
def test_an_arm_processor_that_is_not_in_the_list_keeps_its_number(files: Path):
    (files / CPUINFO).write_text(PI_5.replace("0xd0b", "0xd84"))
    found = read(root=files)
    assert found.device == found.processor == "ARM part 0xd84"


@pytest.mark.usefixtures("linux")
def test_a_machine_without_tables(files: Path):
    found = read(root=files)
    assert found.device == found.processor == (platform.machine() or "unknown")
    assert (found.instruction_sets, found.governor) == ((), None)


@pytest.mark.usefixtures("linux")
def test_tables_of_nothing_but_noise_stop_nobody(files: Path):
    for name in (BOARD, CPUINFO, GOVERNOR, STAT):
        (files / name).write_bytes(b"\xff\xfe no table : at all\n\n")
    assert read(root=files).instruction_sets == ()
    assert LoadMeter(files).read() is None


def test_a_governor_that_may_not_be_read(files: Path):
    (files / GOVERNOR).mkdir()  # opening it fails, for root too
    assert read(root=files).governor is None
    (files / GOVERNOR).rmdir()
    (files / GOVERNOR).write_text("\n")
    assert read(root=files).governor is None


# What else the machine was doing.


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of this process and its children, in five parts as `os.times` tells them; to be changed in place."""
    seconds = [0.0] * 5
    monkeypatch.setattr(os, "times", lambda: os.times_result(seconds))
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    return seconds


def write_stat(files: Path, *seconds: float) -> None:
    """The first line of /proc/stat counts all processors together; user includes guest, which stands apart again."""
    ticks = " ".join(str(int(100 * second)) for second in seconds)
    (files / STAT).write_text(f"cpu  {ticks} 777 55\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 12345\n")


def test_the_load_is_what_others_and_the_hypervisor_took(files: Path, own: list[float]):
    write_stat(files, 100, 10, 20, 1000, 5, 1, 2, 3)
    own[:] = [7, 1, 0, 0, 50]
    meter = LoadMeter(files)
    # 100 s in all: 60 busy, 30 idle, 2 waiting for a disk, 8 stolen. 50 of the 60 are ours and our children's.
    write_stat(files, 140, 15, 31, 1030, 7, 2, 5, 11)
    own[:] = [17, 2, 35, 4, 90]
    assert meter.read() == Load(others=pytest.approx(0.1), stolen=pytest.approx(0.08))


def test_each_reading_counts_from_the_start(files: Path, own: list[float]):
    write_stat(files, 0, 0, 0, 0, 0, 0, 0, 0)
    meter = LoadMeter(files)
    write_stat(files, 10, 0, 0, 10, 0, 0, 0, 0)
    assert meter.read() == Load(others=0.5, stolen=0.0)
    write_stat(files, 10, 0, 0, 40, 0, 0, 0, 0)
    assert meter.read() == Load(others=0.2, stolen=0.0)
    assert own == [0.0] * 5


def test_it_is_never_negative(files: Path, own: list[float]):
    """The two clocks tick apart: our own time may come out larger than that of all."""
    write_stat(files, 10, 0, 0, 10, 0, 0, 0, 5)
    meter = LoadMeter(files)
    write_stat(files, 11, 0, 0, 11, 0, 0, 0, 4)  # a hypervisor's count may run backwards
    own[0] = 1.04
    assert meter.read() == Load(others=0.0, stolen=0.0)


def test_a_system_that_does_not_tell(files: Path, own: list[float]):
    assert own == [0.0] * 5
    meter = LoadMeter(files)
    assert meter.read() is None
    write_stat(files, 1, 1, 1, 1, 1, 1, 1, 1)
    assert meter.read() is None  # without a start
    meter = LoadMeter(files)
    assert meter.read() is None  # no time has passed
    (files / STAT).unlink()
    assert meter.read() is None
    (files / STAT).write_text("cpu  1 2 3 4\n")  # as Linux 2.4 had it
    assert LoadMeter(files).read() is None


@on_linux
def test_this_machines_load_is_a_share():
    meter = LoadMeter()
    load = None
    end = time.monotonic() + 5  # Linux counts in hundredths of a second
    while load is None and time.monotonic() < end:
        load = meter.read()
    assert load is not None
    assert 0 <= load.others <= 1
    assert 0 <= load.stolen <= 1
