"""What `scripts/bench` can be told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.suites import FULL, QUICK, ROUNDS, Sizes

SUITES = {
    "quick": "the raw limits of this machine and NodeLink beside them, in two minutes; what is done without a mode",
    "full": "also other ways to hand tasks in, 4 and 16 agents, latency under load, the peers; at most 25 minutes",
}
ALONE = {
    "database": "lists and `why` at a million tasks",
    "backlog": "a large backlog and its order",
    "blobs": "2 GiB up and down over a link that is cut",
}
"""Modes that measure one thing for itself, once, and print what it came to."""
OF_SUITES = ("json", "compare", "only", "rounds", "tasks", "singles", "sdk_tasks", "shell_tasks", "slots")
SIZES = ("tasks", "singles", "sdk_tasks", "shell_tasks", "slots")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What is wanted; `mode` is the name of a mode. Ends the process for what makes no sense."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures NodeLink beside the raw limits of the same machine, and beside peers.",
    )
    modes = parser.add_mutually_exclusive_group()
    for name, text in {**SUITES, **ALONE}.items():
        modes.add_argument(f"--{name}", action="store_const", const=name, dest="mode", help=text)
    suites = parser.add_argument_group("of --quick and --full")
    suites.add_argument("--json", type=Path, metavar="FILE", help="write figures, ratios and the machine there")
    suites.add_argument("--compare", type=Path, metavar="FILE", help="print how each ratio changed since that JSON")
    suites.add_argument(
        "--only", metavar="TEXT", help="only measurements whose name holds this, without the ratios to others"
    )
    suites.add_argument("--rounds", type=_count, metavar="N", help=f"default: {ROUNDS}")
    for name in SIZES:
        default = f"default: {getattr(QUICK, name):,}, with --full {getattr(FULL, name):,}"
        suites.add_argument(f"--{name.replace('_', '-')}", type=_count, metavar="N", help=f"a round; {default}")
    parser.add_argument(
        "--directory", type=Path, help="where databases are put; the system's own temporary one if not given"
    )
    given = parser.parse_args(argv)
    given.mode = given.mode or "quick"
    surplus = [name for name in OF_SUITES if getattr(given, name) is not None]
    if given.mode in ALONE and surplus:
        parser.error(f"argument --{surplus[0].replace('_', '-')}: not allowed with --{given.mode}")
    if given.directory and not given.directory.is_dir():
        parser.error(f"argument --directory: there is no directory {given.directory}")
    return given


def sizes_of(given: argparse.Namespace) -> Sizes:
    """How much is measured in a round."""
    chosen = {name: getattr(given, name) for name in SIZES if getattr(given, name) is not None}
    return replace(FULL if given.mode == "full" else QUICK, **chosen)


def is_standard(given: argparse.Namespace) -> bool:
    """Whether it is the suite as it is meant: all of it, and in its own sizes."""
    return all(getattr(given, name) is None for name in ("only", "rounds", *SIZES))


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
