"""What an agent finds that it has, and what becomes of that by its settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodelink_agent.resources import found, offered

CPU = len(os.sched_getaffinity(0)) * 1000
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 1000
MIB = 1024**2


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """The control group of this process, in a root of its own: /outer/inner."""
    cgroup = tmp_path / "proc/self/cgroup"
    cgroup.parent.mkdir(parents=True)
    cgroup.write_text("9:cpu:/elsewhere\n0::/outer/inner\n")
    inner = tmp_path / "sys/fs/cgroup/outer/inner"
    inner.mkdir(parents=True)
    return inner


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert found(tmp_path) == {"cpu": CPU, "memory": MEMORY}


def test_what_a_control_group_allows_counts_if_it_is_less(group: Path, tmp_path: Path) -> None:
    (group / "cpu.max").write_text("25000 100000\n")
    (group / "memory.max").write_text(f"{64 * MIB}\n")
    assert found(tmp_path) == {"cpu": 250, "memory": 64 * MIB * 1000}


def test_so_do_the_groups_that_it_lies_in(group: Path, tmp_path: Path) -> None:
    (group / "cpu.max").write_text("max 100000\n")
    (group.parent / "cpu.max").write_text("50000 100000\n")
    (group.parent.parent / "memory.max").write_text(f"{32 * MIB}\n")
    (tmp_path / "sys/fs/memory.max").write_text("1\n")  # not a control group any more
    assert found(tmp_path) == {"cpu": 500, "memory": 32 * MIB * 1000}


@pytest.mark.parametrize(
    "cpu, memory", [("max 100000", "max"), ("100000000 1000", "1" + "0" * 17), ("", ""), ("x y", "z")]
)
def test_what_limits_nothing_or_is_not_understood_is_left_out(
    group: Path, tmp_path: Path, cpu: str, memory: str
) -> None:
    (group / "cpu.max").write_text(cpu)
    (group / "memory.max").write_text(memory)
    assert found(tmp_path) == {"cpu": CPU, "memory": MEMORY}


def test_a_quota_of_nearly_nothing_is_still_something(group: Path, tmp_path: Path) -> None:
    (group / "cpu.max").write_text("1 1000000\n")
    assert found(tmp_path)["cpu"] == 1


def test_what_is_given_counts_instead_or_beside_and_0_takes_away(tmp_path: Path) -> None:
    assert offered({}, tmp_path) == {"cpu": CPU, "memory": MEMORY}
    assert offered({"cpu": 500, "gpu": 2_000}, tmp_path) == {"cpu": 500, "memory": MEMORY, "gpu": 2_000}
    assert offered({"cpu": 0, "memory": 0}, tmp_path) == {}
