"""The default number of threads in containers and services: quotas of Linux's control groups.

Each test lays out the files that a process of eight cores sees below a folder, as they lie below `/`. The lines are
those of real systems: systemd's, Docker's, Kubernetes', and those of the kernel's documentation.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vit_runtime.devices.threads import default_threads

Machine = Callable[[Mapping[str, str]], int]
CORES = 8
OWN = "proc/self/cgroup"
MOUNTS = "proc/self/mountinfo"
V2 = "sys/fs/cgroup"
V2_MOUNT = "28 24 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "sys/fs/cgroup/cpu,cpuacct"
V1_MOUNT = "34 25 0:30 {} /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct"


@pytest.fixture
def threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`threads({path: text})` is the default on a Linux machine of eight cores that holds these files."""

    def run(files: Mapping[str, str]) -> int:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n", encoding="utf-8", errors="surrogateescape")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
        monkeypatch.setattr(sys, "platform", "linux")
        return default_threads(tmp_path)

    return run


def v1_quota(folder: str, quota: object, period: object = 100000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


def test_a_service_of_systemd_keeps_the_quota_of_its_own_group(threads: Machine):
    """CPUQuota=250% of a unit: two whole processors."""
    group = "/system.slice/vit.service"
    own = {OWN: f"0::{group}", MOUNTS: V2_MOUNT, f"{V2}{group}/cpu.max": "250000 100000"}
    assert threads(own) == 2


@pytest.mark.parametrize("tightest", ["", "/kubepods", "/kubepods/pod1", "/kubepods/pod1/container"])
def test_the_tightest_group_around_the_process_counts(tightest: str, threads: Machine):
    groups = ["", "/kubepods", "/kubepods/pod1", "/kubepods/pod1/container"]
    quotas = {f"{V2}{group}/cpu.max": "600000 100000" for group in groups}
    quotas[f"{V2}{tightest}/cpu.max"] = "150000 50000"
    assert threads({OWN: f"0::{groups[-1]}", MOUNTS: V2_MOUNT} | quotas) == 3


def test_the_quotas_of_other_groups_do_not_count(threads: Machine):
    others = {f"{V2}/other/cpu.max": "100000 100000", f"{V2}/own/child/cpu.max": "100000 100000"}
    assert threads({OWN: "0::/own", MOUNTS: V2_MOUNT, f"{V2}/own/cpu.max": "max 100000"} | others) == CORES


def test_version_1_keeps_its_quota(threads: Machine):
    lines = "12:memory:/batch\n4:cpu,cpuacct:/batch\n1:name=systemd:/user.slice\n0::/user.slice"
    assert threads({OWN: lines, MOUNTS: V1_MOUNT.format("/")} | v1_quota(f"{V1}/batch", 350000)) == 3


def test_version_1_nests_quotas_too(threads: Machine):
    quotas = v1_quota(V1, -1) | v1_quota(f"{V1}/outer", 200000) | v1_quota(f"{V1}/outer/inner", 500000)
    assert threads({OWN: "4:cpu,cpuacct:/outer/inner", MOUNTS: V1_MOUNT.format("/")} | quotas) == 2


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_version_1_lies_at_either_usual_place(controllers: str, threads: Machine):
    """As a process sees it that may not read its mounts."""
    quota = v1_quota(f"sys/fs/cgroup/{controllers}/batch", 300000)
    assert threads({OWN: f"4:{controllers}:/batch"} | quota) == 3


def test_version_1_is_found_where_it_is_mounted(threads: Machine):
    """As on Android; the folder's name has a space, which the kernel writes as \\040."""
    mount = "34 25 0:30 / /dev/cpu\\040ctl rw,relatime - cgroup none rw,cpu"
    assert threads({OWN: "2:cpu:/top-app", MOUNTS: mount} | v1_quota("dev/cpu ctl/top-app", 200000)) == 2


def test_cpuset_and_cpuacct_are_not_cpu(threads: Machine):
    mounts = "33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct"
    own = "3:cpuset:/a\n2:cpuacct:/b"
    quotas = v1_quota("sys/fs/cgroup/cpuacct/b", 100000) | v1_quota("sys/fs/cgroup/cpuacct", 100000)
    assert threads({OWN: own, MOUNTS: mounts} | quotas) == CORES


def test_version_2_beside_version_1_leaves_the_quota_to_version_1(threads: Machine):
    """systemd's hybrid layout: version 2 without controllers, below `unified`."""
    mounts = f"{V1_MOUNT.format('/')}\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    files = {OWN: "4:cpu,cpuacct:/a\n0::/b", MOUNTS: mounts, "sys/fs/cgroup/unified/b/cgroup.procs": "1"}
    assert threads(files | v1_quota(f"{V1}/a", 200000)) == 2


def test_a_container_of_version_1_sees_its_group_as_the_mount(threads: Machine):
    """Docker without a namespace of groups: the path is the host's, the mount's folder is the group."""
    files = {OWN: "4:cpu,cpuacct:/docker/abc", MOUNTS: V1_MOUNT.format("/docker/abc")}
    assert threads(files | v1_quota(V1, 200000)) == 2


def test_a_group_inside_a_container_of_version_1_counts(threads: Machine):
    files = {OWN: "4:cpu,cpuacct:/docker/abc/job", MOUNTS: V1_MOUNT.format("/docker/abc")}
    assert threads(files | v1_quota(V1, 400000) | v1_quota(f"{V1}/job", 200000)) == 2


@pytest.mark.parametrize("mounts", [{MOUNTS: V2_MOUNT}, {}])
def test_a_group_that_the_mount_does_not_show_leaves_the_mounts_own_quota(mounts: dict[str, str], threads: Machine):
    assert threads({OWN: "0::/docker/abc", f"{V2}/cpu.max": "300000 100000"} | mounts) == 3


def test_a_group_outside_the_mounts_part_leaves_the_mounts_own_quota(threads: Machine):
    files = {OWN: "4:cpu,cpuacct:/docker/xyz", MOUNTS: V1_MOUNT.format("/docker/abc")}
    assert threads(files | v1_quota(V1, 200000)) == 2


def test_a_group_above_the_namespace_leaves_the_mounts_own_quota(threads: Machine):
    """cgroup_namespaces(7): `/..` is above the namespace's root; the folder above the mount is another."""
    files = {OWN: "0::/../sibling", MOUNTS: V2_MOUNT, f"{V2}/cpu.max": "300000 100000"}
    assert threads(files | {"sys/fs/sibling/cpu.max": "100000 100000", "sys/fs/cpu.max": "100000 100000"}) == 3


def test_a_second_mount_of_other_groups_does_not_count(threads: Machine):
    other = "90 24 0:25 /other /mnt/other rw - cgroup2 cgroup2 rw"
    quotas = {f"{V2}/own/cpu.max": "400000 100000", "mnt/other/cpu.max": "100000 100000"}
    assert threads({OWN: "0::/own", MOUNTS: f"{other}\n{V2_MOUNT}"} | quotas) == 4


def test_a_groups_name_may_hold_colons_spaces_and_odd_bytes(threads: Machine):
    group = "/a:b c/caf\udce9"
    assert threads({OWN: f"0::{group}", MOUNTS: V2_MOUNT, f"{V2}{group}/cpu.max": "200000 100000"}) == 2


@pytest.mark.parametrize(
    "text",
    ["", "max", "max 100000", "200000", "200000 0", "0 100000", "-1 100000", "x y", "2.5 1", "\xb2 \xb2", "9" * 5000],
)
def test_an_odd_quota_of_version_2_is_none(text: str, threads: Machine):
    assert threads({OWN: "0::/a", MOUNTS: V2_MOUNT, f"{V2}/a/cpu.max": text}) == CORES


@pytest.mark.parametrize(
    ("quota", "period"),
    [
        ("-1", "100000"),
        ("", "100000"),
        ("200000", ""),
        ("200000", "0"),
        ("200000", "-5"),
        ("max", "100000"),
        ("0", "1"),
    ],
)
def test_an_odd_quota_of_version_1_is_none(quota: str, period: str, threads: Machine):
    files = {OWN: "4:cpu,cpuacct:/a", MOUNTS: V1_MOUNT.format("/")}
    assert threads(files | v1_quota(f"{V1}/a", quota, period)) == CORES


def test_a_quota_without_its_period_is_none(threads: Machine):
    files = {OWN: "4:cpu,cpuacct:/a", MOUNTS: V1_MOUNT.format("/"), f"{V1}/a/cpu.cfs_quota_us": "100000"}
    assert threads(files) == CORES


@pytest.mark.parametrize(("quota", "expected"), [(50000, 1), (1000, 1), (250000, 2), (799999, 7), (9900000, CORES)])
def test_quotas_are_rounded_down_to_at_least_one_thread(quota: int, expected: int, threads: Machine):
    version_1 = {OWN: "4:cpu,cpuacct:/a", MOUNTS: V1_MOUNT.format("/")} | v1_quota(f"{V1}/a", quota)
    assert threads(version_1) == expected


@pytest.mark.parametrize("text", ["", "0", "0:", "::", "cpu", "0::", "4:cpu", "\n\n", "0::/\0", "\xff:\xff"])
def test_odd_lists_of_groups_leave_the_mounts_own_quota(text: str, threads: Machine):
    assert threads({OWN: text, MOUNTS: V2_MOUNT, f"{V2}/cpu.max": "300000 100000"}) == 3


@pytest.mark.parametrize("text", ["", "1", "1 2 3", " - ", "1 2 3 - cgroup2", "1 2 3 4 5 - ", "a - cgroup x cpu", "\0"])
def test_odd_lists_of_mounts_leave_the_usual_places(text: str, threads: Machine):
    assert threads({OWN: "0::/a", MOUNTS: text, f"{V2}/a/cpu.max": "300000 100000"}) == 3
