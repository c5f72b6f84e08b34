"""What `scripts/bench` can be told."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.memory.suite import MINUTES, MemorySizes
from benchmarks.memory.suite import PARTS as MEMORY_PARTS
from benchmarks.scale.suite import PARTS as SCALE_PARTS
from benchmarks.scale.suite import WAITING, ScaleSizes
from benchmarks.suites import FULL, QUICK, ROUNDS, Sizes

SUITES = {
    "quick": "the raw limits of this machine and NodeLink beside them, in two minutes; what is done without a mode",
    "full": "also other ways to hand tasks in, 4 and 16 agents, latency under load, the peers; at most 25 minutes",
}
IN_PARTS = {
    "scale": ("many agents, listeners and waiting tasks, and much output, in 20 minutes", tuple(SCALE_PARTS)),
    "memory": ("what one of each thing takes, and whether memory grows under load", tuple(MEMORY_PARTS)),
}
"""Suites that are measured once, in parts: all of them, or those that are named."""
ALONE = {
    "database": "lists and `why` at a million tasks",
    "backlog": "a large backlog and its order",
    "blobs": "2 GiB up and down over a link that is cut",
}
"""Modes that measure one thing for itself, once, and print what it came to."""
OF_SUITES = ("json", "compare", "only", "rounds", "tasks", "singles", "sdk_tasks", "shell_tasks", "slots")
SIZES = ("tasks", "singles", "sdk_tasks", "shell_tasks", "slots")
OF_PARTS = {"size": ("scale", "memory"), "waiting": ("scale",), "minutes": ("memory",)}
"""Sizes of suites in parts, and of which they are."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What is wanted; `mode` is the name of a mode. Ends the process for what makes no sense."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures NodeLink beside the raw limits of the same machine, and beside peers.",
    )
    modes = parser.add_mutually_exclusive_group()
    for name, text in {**SUITES, **ALONE}.items():
        modes.add_argument(f"--{name}", action="store_const", const=name, dest="mode", help=text)
    for name, (text, parts) in IN_PARTS.items():
        of = f"{text}; or only some of {','.join(parts)}"
        modes.add_argument(f"--{name}", nargs="?", const=(), type=_some_of(parts), metavar="PARTS", help=of)
    suites = parser.add_argument_group("of suites; sizes of --quick and --full alone")
    suites.add_argument("--json", type=Path, metavar="FILE", help="write figures, ratios and the machine there")
    suites.add_argument("--compare", type=Path, metavar="FILE", help="print how each ratio changed since that JSON")
    suites.add_argument(
        "--only", metavar="TEXT", help="only measurements whose name holds this, without the ratios to others"
    )
    suites.add_argument("--rounds", type=_count, metavar="N", help=f"default: {ROUNDS}, of --scale and --memory 1")
    for name in SIZES:
        default = f"default: {getattr(QUICK, name):,}, with --full {getattr(FULL, name):,}"
        suites.add_argument(f"--{name.replace('_', '-')}", type=_count, metavar="N", help=f"a round; {default}")
    large = parser.add_argument_group("of --scale and --memory")
    large.add_argument(
        "--size", type=_positive, metavar="X", help="of everything that much: 0.1 is a tenth; default: 1"
    )
    waiting = ",".join(map(str, WAITING))
    large.add_argument("--waiting", type=_counts, metavar="N,N", help=f"how many tasks wait; default: {waiting}")
    large.add_argument("--minutes", type=_positive, metavar="N", help=f"of steady load; default: {MINUTES:g}")
    parser.add_argument(
        "--directory", type=Path, help="where databases are put; the system's own temporary one if not given"
    )
    given = parser.parse_args(argv)
    in_parts = next((name for name in IN_PARTS if getattr(given, name) is not None), None)
    given.mode = given.mode or in_parts or "quick"
    surplus = next(_surplus(given), None)
    if surplus:
        parser.error(f"argument --{surplus.replace('_', '-')}: not allowed with --{given.mode}")
    if given.directory and not given.directory.is_dir():
        parser.error(f"argument --directory: there is no directory {given.directory}")
    return given


def _surplus(given: argparse.Namespace) -> Iterator[str]:
    """What was given and does not go with the mode."""
    unknown = OF_SUITES if given.mode in ALONE else SIZES if given.mode in IN_PARTS else ()
    others = [name for name, modes in OF_PARTS.items() if given.mode not in modes]
    return (name for name in (*unknown, *others) if getattr(given, name) is not None)


def sizes_of(given: argparse.Namespace) -> Sizes:
    """How much is measured in a round."""
    chosen = {name: getattr(given, name) for name in SIZES if getattr(given, name) is not None}
    return replace(FULL if given.mode == "full" else QUICK, **chosen)


def scale_sizes_of(given: argparse.Namespace) -> ScaleSizes:
    """How much is measured at scale."""
    return ScaleSizes(size=given.size or 1.0, waiting=given.waiting or ())


def memory_sizes_of(given: argparse.Namespace) -> MemorySizes:
    """How much is measured of memory."""
    return MemorySizes(size=given.size or 1.0, minutes=given.minutes or MINUTES)


def is_standard(given: argparse.Namespace) -> bool:
    """Whether it is the suite as it is meant: all of it, and in its own sizes."""
    sizes = ("only", "rounds", *SIZES, *OF_PARTS)
    return all(getattr(given, name) is None for name in sizes) and not given.scale and not given.memory


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _counts(text: str) -> Sequence[int]:
    return tuple(_count(part) for part in text.split(","))


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _some_of(parts: Sequence[str]) -> Callable[[str], Sequence[str]]:
    def names(text: str) -> Sequence[str]:
        found = text.split(",")
        unknown = [name for name in found if name not in parts]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; choose of {', '.join(parts)}")
        return found

    return names
