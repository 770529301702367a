"""What Linux's control groups let this process use: the processors and the memory of a container or service.

A group sets a quota of processor time per period, and a limit of memory. The groups around it do so too, and the
tightest counts. Version 2 (Documentation/admin-guide/cgroup-v2.rst in Linux) has one hierarchy for all; version 1
(Documentation/scheduler/sched-bwc.rst, admin-guide/cgroup-v1/memory.rst) may have one for each controller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from vit_runtime.devices.kernel_files import parse_number, read_text

_USUAL_V2: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_USUAL_V1: Final = {
    "cpu": ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"),
    "memory": ("sys/fs/cgroup/memory",),
}
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class _Mount:
    """A mounted file system in which control groups are folders."""

    version: int
    root: str
    """The group that the mount's own folder stands for, as /proc/self/cgroup names groups."""
    folder: Path


def processor_limit(root: Path = Path("/")) -> int | None:
    """Whole processors that this process may use at once, at least 1; None without a quota.

    In some containers the group's own folder is hidden; then only the folders that can be seen count.

    Args:
        root: the folder with `proc` and `sys`.
    """
    limit = _tightest("cpu", root, {1: _limit_v1, 2: _limit_v2})
    return None if limit is None else max(1, limit)


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process's groups can still give, apart from files, which make room; None for no limit.

    Args:
        root: the folder with `proc` and `sys`.
    """
    return _tightest("memory", root, {1: _left_v1, 2: _left_v2})


def _tightest(controller: str, root: Path, readers: dict[int, Callable[[Path], int | None]]) -> int | None:
    """The smallest number that a reader gives for the process's group, or for one around it."""
    own_groups = _own_groups(root, controller)
    mounts = _mounts(root, controller) or _usual_mounts(root, controller)
    limits = []
    for version, read_limit in readers.items():
        group = own_groups.get(version, "/")
        for folder in _folders([mount for mount in mounts if mount.version == version], group):
            limit = read_limit(folder)
            if limit is not None:
                limits.append(limit)
    return min(limits, default=None)


def _own_groups(root: Path, controller: str) -> dict[int, str]:
    """Gives this process's group by version, from lines such as `4:cpu,cpuacct:/docker/abc` and `0::/user.slice`."""
    groups = {}
    for line in read_text(root / "proc/self/cgroup").split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controller in controllers.split(","):
            groups[1] = group
        elif number == "0" and not controllers:
            groups[2] = group
    return groups


def _mounts(root: Path, controller: str) -> list[_Mount]:
    """Finds where control groups are mounted, from /proc/self/mountinfo (proc_pid_mountinfo(5)).

    A line is `32 31 0:29 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu`, with further words before the dash.
    """
    mounts = []
    for line in read_text(root / "proc/self/mountinfo").split("\n"):
        before, _, after = line.partition(" - ")
        place, kind = before.split(" "), after.split(" ")
        version = {"cgroup": 1, "cgroup2": 2}.get(kind[0])
        if version is None or len(place) < 5 or (version == 1 and controller not in kind[-1].split(",")):
            continue
        group, folder = (_ESCAPED.sub(lambda code: chr(int(code[1], 8)), word) for word in place[3:5])
        mounts.append(_Mount(version, group, root / folder.lstrip("/")))
    return mounts


def _usual_mounts(root: Path, controller: str) -> list[_Mount]:
    """Gives the places where most systems mount control groups, for a process that cannot see its mounts."""
    usual = ((1, _USUAL_V1[controller]), (2, _USUAL_V2))
    return [_Mount(version, "/", root / folder) for version, folders in usual for folder in folders]


def _folders(mounts: list[_Mount], group: str) -> Iterator[Path]:
    """Gives the folders of a group and of the groups around it, as far as the mounts show them."""
    ways = [(mount, _way_down(mount.root, group)) for mount in mounts]
    # A mount that holds only other groups, such as a host's tools make, says nothing about this process.
    visible = [(mount, way) for mount, way in ways if way is not None]
    for mount, way in visible or [(mount, ()) for mount in mounts]:
        folder = mount.folder
        yield folder
        for name in way:
            folder /= name
            yield folder


def _way_down(top: str, group: str) -> tuple[str, ...] | None:
    """Gives the names from `top` down to `group`; None where it is not below, () where a namespace hides the way."""
    try:
        way = PurePosixPath(group).relative_to(top).parts
    except ValueError:
        return None
    return () if ".." in way else way


def _limit_v2(folder: Path) -> int | None:
    """Reads quota and period from one file: `200000 100000` in microseconds, or `max 100000` for no quota."""
    quota, _, period = read_text(folder / "cpu.max").partition(" ")
    return _whole_processors(quota, period)


def _limit_v1(folder: Path) -> int | None:
    """Reads quota and period from two files, in microseconds; -1 stands for no quota."""
    return _whole_processors(read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us"))


def _whole_processors(quota: str, period: str) -> int | None:
    """Rounds a quota down to whole processors: one thread too many holds up the others at every barrier."""
    time, length = parse_number(quota), parse_number(period)
    return time // length if time and length else None


def _left_v2(folder: Path) -> int | None:
    """Bytes below the limit: `memory.max` less the anonymous memory of the group."""
    return _left(folder / "memory.max", folder / "memory.stat", "anon")


def _left_v1(folder: Path) -> int | None:
    return _left(folder / "memory.limit_in_bytes", folder / "memory.stat", "total_rss")


def _left(limit: Path, statistics: Path, used: str) -> int | None:
    """A limit of half of all addresses is version 1's way to say that there is none."""
    most = parse_number(read_text(limit))
    if not 0 < most < 1 << 60:
        return None
    words = dict(line.partition(" ")[::2] for line in read_text(statistics).splitlines())
    return max(0, most - parse_number(words.get(used, "")))
