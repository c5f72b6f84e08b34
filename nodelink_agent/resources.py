"""What an agent has for its tasks: processors and memory, as they are found, and what its settings say.

Found is what this process may use: the processors that it may run on and the physical memory, or the limits of its
control groups (version 2) where these are less.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from nodelink.quantities import LARGEST_QUANTITY, MOST_RESOURCES, RESOURCE_NAME, parse_quantity
from nodelink.settings import each, pairs

CPU, MEMORY = "cpu", "memory"
FOUND = (CPU, MEMORY)


def parse_resources(text: str) -> dict[str, int]:
    """Amounts as they are given, in thousandths: `cpu=4,memory=8GiB,gpu=0`. ValueError says what would be right."""
    given = pairs(text, "resources", "cpu=4,memory=8GiB")
    for name in given:
        if not RESOURCE_NAME.fullmatch(name):
            right = "1 to 63 small letters, digits, '_', '.', '/' or '-', and begins with a letter or digit"
            raise ValueError(f"{name[:64]!r} is not the name of a resource, which has {right}")
    if len({*given, *FOUND}) > MOST_RESOURCES:
        raise ValueError(f"{len(given)} resources are too many; at most {MOST_RESOURCES}, cpu and memory among them")
    return each(given, parse_quantity)


def offered(given: Mapping[str, int], root: Path = Path("/")) -> dict[str, int]:
    """What the agent offers, in thousandths: what is found, and over it what is given. What is given as 0 is not there.

    `root`: where `/proc` and `/sys` are looked for.
    """
    everything = {**found(root), **given}
    return {name: amount for name, amount in everything.items() if amount}


def found(root: Path = Path("/")) -> dict[str, int]:
    """The processors and the memory that this process may use, in thousandths of a processor and of a byte."""
    cpu = len(os.sched_getaffinity(0)) * 1000
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _control_groups(root):
        cpu = min(cpu, _processors(group / "cpu.max", cpu))
        memory = min(memory, _bytes(group / "memory.max", memory))
    return {CPU: max(cpu, 1), MEMORY: min(memory * 1000, LARGEST_QUANTITY)}


def _control_groups(root: Path) -> Iterator[Path]:
    """The directories of the control group of this process and of all that it lies in."""
    top = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::/"):
            inner = top / line.removeprefix("0::/")
            yield from (group for group in (inner, *inner.parents) if group.is_relative_to(top))


def _processors(file: Path, otherwise: int) -> int:
    """So much of a processor as a group may use, in thousandths."""
    quota, _, period = _text(file).strip().partition(" ")
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return otherwise
    return int(quota) * 1000 // int(period)


def _bytes(file: Path, otherwise: int) -> int:
    """So much memory as a group may use."""
    text = _text(file).strip()
    return int(text) if text.isdecimal() else otherwise


def _text(file: Path) -> str:
    """What stands in a file; nothing if it cannot be read, as in a container that does not show it."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
