"""The default number of threads, on processors that this machine does not have.

Each test lays out the files that Linux shows for a processor below a folder, as they lie below `/`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vit_runtime.devices.threads import default_threads

Machine = Callable[..., int]


@pytest.fixture
def threads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`threads_on(cpus=4, files={...})` is the default on a Linux machine that holds these files."""

    def run(*, cpus: int | set[int], files: Mapping[str, object]) -> int:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n", encoding="latin-1")
        allowed = set(range(cpus)) if isinstance(cpus, int) else cpus
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed, raising=False)
        monkeypatch.setattr(sys, "platform", "linux")
        return default_threads(tmp_path)

    return run


def siblings(*groups: str) -> dict[str, str]:
    """The tables of hardware threads: "0,4" are threads 0 and 4 of one core."""
    return {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": group
        for group in groups
        for cpu in group.split(",")
    }


def capacities(*values: int) -> dict[str, int]:
    """The relative speed of each core, 1024 for the fastest (Documentation/devicetree/bindings/cpu/cpu-capacity)."""
    return {f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity": value for cpu, value in enumerate(values)}


def test_without_tables_every_processor_counts(threads_on: Machine):
    assert threads_on(cpus=4, files={}) == 4


def test_without_affinity_every_processor_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As on systems beside Linux, macOS, and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(sys, "platform", "freebsd13")
    assert default_threads(tmp_path) == 6


def test_where_a_sandbox_forbids_the_question_for_affinity_every_processor_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def forbidden(_: int) -> set[int]:
        raise PermissionError

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", forbidden, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert default_threads(tmp_path) == 6


def test_two_threads_of_one_core_count_once(threads_on: Machine):
    assert threads_on(cpus=8, files=siblings("0,4", "1,5", "2,6", "3,7")) == 4


def test_only_cores_open_to_this_process_count(threads_on: Machine):
    assert threads_on(cpus={1, 2, 5}, files=siblings("0,4", "1,5", "2,6", "3,7")) == 2


def test_a_raspberry_pi_uses_its_four_equal_cores(threads_on: Machine):
    assert threads_on(cpus=4, files=siblings("0", "1", "2", "3") | capacities(1024, 1024, 1024, 1024)) == 4


def test_big_little_uses_the_big_cores(threads_on: Machine):
    """As the RK3588: four Cortex-A55, four Cortex-A76."""
    assert threads_on(cpus=8, files=capacities(*[397] * 4, *[1024] * 4)) == 4


def test_a_prime_core_does_not_work_alone(threads_on: Machine):
    """As the Snapdragon 865: four Cortex-A55, three Cortex-A77, and one of these with a higher clock."""
    assert threads_on(cpus=8, files=capacities(*[284] * 4, *[871] * 3, 1024)) == 4


def test_only_little_cores_open_to_this_process_count(threads_on: Machine):
    assert threads_on(cpus={0, 1, 2}, files=capacities(*[397] * 4, *[1024] * 4)) == 3


def test_hybrid_intel_uses_each_performance_core_once(threads_on: Machine):
    """As the Core i5-1340P: four performance cores of two threads each, eight efficiency cores.

    Linux lists them in `/sys/devices/cpu_core/cpus` and `/sys/devices/cpu_atom/cpus`.
    """
    performance = siblings("0,1", "2,3", "4,5", "6,7")
    efficiency = siblings(*map(str, range(8, 16)))
    kinds = {"sys/devices/cpu_core/cpus": "0-7", "sys/devices/cpu_atom/cpus": "8-15"}
    assert threads_on(cpus=16, files=performance | efficiency | kinds) == 4


def test_hybrid_intel_restricted_to_efficiency_cores_uses_those(threads_on: Machine):
    kinds = {"sys/devices/cpu_core/cpus": "0-7", "sys/devices/cpu_atom/cpus": "8-15"}
    assert threads_on(cpus={9, 10, 11}, files=kinds) == 3


def test_tables_in_no_known_format_are_left_out(threads_on: Machine):
    odd = {"sys/devices/cpu_core/cpus": "all\xff", "sys/devices/system/cpu/cpu0/cpu_capacity": "fast"}
    assert threads_on(cpus=4, files=odd) == 4


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_the_quota_of_a_container_is_kept(quota: str, expected: int, threads_on: Machine):
    assert threads_on(cpus=8, files={"sys/fs/cgroup/cpu.max": quota}) == expected


@pytest.mark.parametrize("quota", ["", "max", "200000"])
def test_an_unreadable_quota_is_none(quota: str, threads_on: Machine):
    assert threads_on(cpus=8, files={"sys/fs/cgroup/cpu.max": quota}) == 8


def test_this_machine_gets_at_least_one_thread_and_no_more_than_it_has():
    assert 1 <= default_threads() <= (os.cpu_count() or 1)
