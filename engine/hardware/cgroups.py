"""Limits of the control groups that this process is in, versions 1 and 2, nested: the smallest on the way up counts.

Formats: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/{memory,cpusets}.html, proc_pid_cgroup(5).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc/self")  # whose groups are meant


class _Mount(NamedTuple):
    point: Path
    root: str  # the group that is seen at `point`
    controllers: frozenset[str]  # of version 1; empty: version 2, which has all


def cpu_quota() -> float | None:
    """Cores' worth of time that this process may use; None without a limit."""
    return min((quota for folder in _folders("cpu") if (quota := _quota(folder)) is not None), default=None)


def memory_limit() -> int | None:
    """Bytes that this process and its neighbors in the group may hold; None without a limit."""
    return min((limit for folder in _folders("memory") for limit in _limits(folder)), default=None)


def memory_left() -> int | None:
    """Bytes that may still be taken before a limit is reached; files that the kernel can drop count as free."""
    left = (limit - _held(folder) for folder in _folders("memory") for limit in _limits(folder))
    return min((max(0, size) for size in left), default=None)


def out_of_memory_kills() -> int:
    """How many processes of this group the kernel has killed because memory ran out; 0 where it does not report it."""
    for folder in _folders("memory"):
        for name in ("memory.events", "memory.oom_control"):
            if (count := _number_after("oom_kill", _read(folder / name))) is not None:
                return count
    return 0


def _quota(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _limits(folder: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):  # above `high` the kernel slows down and swaps
        if (text := _read(folder / name)).isdigit():
            yield int(text)


def _held(folder: Path) -> int:
    used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
    statistics = _read(folder / "memory.stat")
    droppable = _number_after("total_inactive_file", statistics)
    if droppable is None:
        droppable = _number_after("inactive_file", statistics) or 0
    return max(0, int(used) - droppable) if used.isdigit() else 0


def _folders(controller: str) -> Iterator[Path]:
    """The folders of this process' group and of all groups above that can be seen, from the inside out."""
    mounts = list(_mounts(_read(PROC / "mountinfo").splitlines()))
    for line in _read(PROC / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, group = rest.partition(":")
        for mount in mounts:
            if controller in mount.controllers if names else number == "0" and not mount.controllers:
                yield from _upwards(mount, group)
                break


def _upwards(mount: _Mount, group: str) -> Iterator[Path]:
    # a container may see its own group at the mount under a name that only means something outside
    inside = group == mount.root or group.startswith(mount.root.rstrip("/") + "/")
    folder = mount.point / (group[len(mount.root.rstrip("/")) :].strip("/") if inside else "")
    if ".." in folder.parts or not folder.is_dir():
        folder = mount.point
    yield folder
    while folder != mount.point:
        folder = folder.parent
        yield folder


def _mounts(lines: Iterable[str]) -> Iterator[_Mount]:
    for line in lines:
        left, _, right = line.partition(" - ")
        mounted, kind = left.split(), right.split()
        if len(mounted) > 4 and len(kind) > 2 and kind[0] in ("cgroup", "cgroup2"):
            controllers = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else frozenset()
            yield _Mount(Path(_unescaped(mounted[4])), _unescaped(mounted[3]), controllers)


def _unescaped(text: str) -> str:
    """Spaces and backslashes in mountinfo are octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _number_after(key: str, text: str) -> int | None:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
