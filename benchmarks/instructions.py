"""How many instructions the server's own code takes for a task, counted by callgrind: a number without noise.

`python -m benchmarks.instructions` prints them beside those of a piece of Python that is always the same; the ratios
are compared with those that are kept in `benchmarks/results/instructions.json`. `--keep` writes them there. Valgrind
has to be installed. A change that is meant to cost something keeps new ones, and its commit says why.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from benchmarks import hot_path
from benchmarks.machine import ROOT

FEW, MANY = 1, 5
"""Frames of two runs: what they differ by is the tasks alone."""
KEPT = ROOT / "benchmarks" / "results" / "instructions.json"
MOST_MORE = 0.05
"""By how much a ratio may exceed the one that is kept. Repeated, it differs by far less."""
MOST_MORE_ELSEWHERE = 0.25
"""The same where Python or SQLite are of another make than those with which it was counted."""
_TOTAL = re.compile(r"^totals: (\d+)", re.MULTILINE)
COUNTED = tuple(part for part in hot_path.PARTS if part != "reference")


def instructions(part: str) -> float:
    """The instructions of one task in a part of `hot_path`. Raises `FileNotFoundError` without valgrind."""
    return (_total(part, MANY) - _total(part, FEW)) / ((MANY - FEW) * hot_path.PER_FRAME)


def _total(part: str, frames: int) -> int:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        tool = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
        command = (*tool, sys.executable, "-m", "benchmarks.instructions", "--part", part, "--frames", str(frames))
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"})
        found = _TOTAL.search(out.read_text())
    assert found, "callgrind has counted nothing"
    return int(found[1])


def ratios(counts: Mapping[str, float]) -> dict[str, float]:
    """The parts beside the reference."""
    return {part: counts[part] / counts["reference"] for part in COUNTED}


def make() -> str:
    """What the number of instructions depends on beside our code."""
    return f"Python {platform.python_version()}, {platform.python_compiler()}, SQLite {sqlite3.sqlite_version}"


def kept() -> tuple[dict[str, float], float]:
    """The ratios that were kept, and by how much they may be exceeded here."""
    found = json.loads(KEPT.read_text())
    return found["ratios"], MOST_MORE if found["make"] == make() else MOST_MORE_ELSEWHERE


def exceeding(now: Mapping[str, float], before: Mapping[str, float], most_more: float) -> list[str]:
    """What has become dearer than it may, in words."""
    return [
        f"{part}: {now[part]:.2f} times the reference; at most {before[part] * (1 + most_more):.2f} is expected"
        for part in before
        if now[part] > before[part] * (1 + most_more)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Count and compare. 1: something has become dearer."""
    parser = argparse.ArgumentParser(prog="benchmarks.instructions", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep what is counted, for later runs to be compared with")
    parser.add_argument("--part", choices=hot_path.PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, default=MANY, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.part:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        hot_path.run(given.part, given.frames, _counted)
        return 0
    counts = {part: instructions(part) for part in hot_path.PARTS}
    now = ratios(counts)
    for part, count in counts.items():
        sys.stdout.write(f"{part:10} {count:12,.0f} instructions a task {now.get(part, 1.0):8.2f}\n")
    if given.keep:
        rounded = {part: round(ratio, 2) for part, ratio in now.items()}
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps({"make": make(), "ratios": rounded}, indent=2) + "\n")
        return 0
    dearer = exceeding(now, *kept())
    sys.stdout.write("".join(f"{line}\n" for line in dearer))
    return 1 if dearer else 0


async def _counted(work: hot_path.Work) -> None:
    """Have callgrind count the instructions of this process only meanwhile."""
    _count("on")
    await work()
    _count("off")


def _count(switch: str) -> None:
    command = ("callgrind_control", "-i", switch, str(os.getpid()))
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
