"""Limits of control groups, read from trees of both versions as containers, Slurm and systemd make them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from engine.hardware import cgroups

GIB = 2**30
V2 = "31 23 0:28 {root} {top} rw,nosuid shared:9 - cgroup2 cgroup rw,nsdelegate"
V1 = "34 31 0:31 {root} {top} rw,relatime - cgroup cgroup rw,{controllers}"
UNLIMITED = "9223372036854771712"  # of memory, as version 1 writes it

Tree = Callable[..., None]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Makes /proc/self with these lines, and the files of groups. `{top}` in lines is the folder of the groups."""

    def make(group: str, mounts: list[str], files: Mapping[str, str]) -> None:
        proc, top = tmp_path / "proc", tmp_path / "fs cgroup"
        proc.mkdir(exist_ok=True)
        for path, text in files.items():
            file = top / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        escaped = str(top).replace(" ", r"\040")
        (proc / "cgroup").write_text(group + "\n")
        other = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw"
        (proc / "mountinfo").write_text("\n".join([other, *(line.replace("{top}", escaped) for line in mounts)]))
        monkeypatch.setattr(cgroups, "PROC", proc)

    return make


def v2(root: str = "/") -> str:
    return V2.replace("{root}", root)


def v1(controllers: str, root: str = "/") -> str:
    line = V1.replace("{root}", root).replace("{controllers}", controllers)
    return line.replace("{top}", f"{{top}}/{controllers}")


def test_a_machine_without_groups_has_no_limits(tree: Tree) -> None:
    tree("", [], {})
    assert (cgroups.cpu_quota(), cgroups.memory_limit(), cgroups.memory_left()) == (None, None, None)
    assert cgroups.out_of_memory_kills() == 0


def test_a_container_with_a_namespace_of_its_own(tree: Tree) -> None:
    files = {
        "cpu.max": "250000 100000",
        "memory.max": str(8 * GIB),
        "memory.high": "max",
        "memory.current": str(5 * GIB),
        "memory.stat": f"anon {2 * GIB}\ninactive_file {3 * GIB}\nactive_file 0",
        "memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0",
    }
    tree("0::/", [v2()], files)
    assert cgroups.cpu_quota() == 2.5
    assert cgroups.memory_limit() == 8 * GIB
    assert cgroups.memory_left() == 6 * GIB
    assert cgroups.out_of_memory_kills() == 2


def test_the_smallest_limit_on_the_way_up_counts(tree: Tree) -> None:
    files = {
        "cpu.max": "max 100000",
        "user.slice/cpu.max": "400000 100000",
        "user.slice/user-1.slice/cpu.max": "150000 100000",
        "user.slice/user-1.slice/run.scope/cpu.max": "max 100000",
        "user.slice/other.slice/cpu.max": "1000 100000",
        "user.slice/memory.max": str(16 * GIB),
        "user.slice/memory.high": str(12 * GIB),
        "user.slice/memory.current": str(11 * GIB),
        "user.slice/user-1.slice/memory.max": str(14 * GIB),
        "user.slice/user-1.slice/memory.current": str(1 * GIB),
        "user.slice/user-1.slice/run.scope/memory.max": "max",
    }
    tree("0::/user.slice/user-1.slice/run.scope", [v2()], files)
    assert cgroups.cpu_quota() == 1.5
    assert cgroups.memory_limit() == 12 * GIB
    assert cgroups.memory_left() == 1 * GIB


def test_version_1_has_a_tree_for_each_controller(tree: Tree) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "1200000",
        "cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": UNLIMITED,
        "memory/slurm/job_7/memory.limit_in_bytes": str(64 * GIB),
        "memory/slurm/job_7/memory.usage_in_bytes": str(10 * GIB),
        "memory/slurm/job_7/memory.stat": f"inactive_file 1\ntotal_inactive_file {4 * GIB}",
        "memory/slurm/job_7/step_0/memory.limit_in_bytes": UNLIMITED,
        "memory/slurm/job_7/step_0/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1",
    }
    groups = "11:cpu,cpuacct:/slurm/job_7\n9:name=systemd:/x\n4:memory:/slurm/job_7/step_0\n0::/init.scope"
    tree(groups, [v1("cpu,cpuacct"), v1("memory"), v1("name=systemd"), v2()], files)
    assert cgroups.cpu_quota() == 12
    assert cgroups.memory_limit() == 64 * GIB
    assert cgroups.memory_left() == 58 * GIB
    assert cgroups.out_of_memory_kills() == 1


@pytest.mark.parametrize(
    ("group", "root", "expected"),
    [
        ("/docker/abc", "/docker/abc", 3.0),  # no namespace: the mount shows this group as its top
        ("/docker/abc/inner", "/docker/abc", 1.0),
        ("/docker/abcdef", "/docker/abc", 3.0),  # not below the mount's root, only named alike
        ("/../other", "/", 3.0),  # moved out of its namespace
        ("/gone", "/", 3.0),  # no such folder here
    ],
)
def test_a_group_is_found_where_its_mount_shows_it(tree: Tree, group: str, root: str, expected: float) -> None:
    files = {"cpu.max": "300000 100000", "inner/cpu.max": "100000 100000"}
    tree(f"0::{group}", [v2(root)], files)
    assert cgroups.cpu_quota() == expected


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense", "100000", "100000 0"])
def test_what_is_no_quota_is_no_limit(tree: Tree, text: str) -> None:
    tree("0::/", [v2()], {"cpu.max": text})
    assert cgroups.cpu_quota() is None


def test_this_process_can_be_asked() -> None:
    quota, limit, left = cgroups.cpu_quota(), cgroups.memory_limit(), cgroups.memory_left()
    assert quota is None or quota > 0
    assert limit is None or limit > 2**20
    assert left is None or (limit is not None and 0 <= left <= limit)
