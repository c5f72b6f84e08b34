"""Fuzz a target, guided by what of the code it reaches: scripts/fuzz TARGET [--seconds N] [--keep].

What was found to be interesting stays in .tools/fuzz for the next time; --keep has as much of it as there is room for
added to the corpus that is tested everywhere, the smallest first. An input that fails is written there, and named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.corpus import add, inputs_of, pack, unpack
from tests.fuzz.targets import TARGETS

WORK = Path(__file__).parents[2] / ".tools" / "fuzz"
MOST_BYTES = 4_096


def main(arguments: Sequence[str]) -> int:
    """Fuzz, and keep what was asked to be kept. Returns what the fuzzer returned."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true", help="write what was found into the corpus")
    asked = parser.parse_args(arguments)
    found = WORK / asked.target
    unpack(inputs_of(asked.target), found)
    fuzzed = _run(asked.target, f"-max_total_time={asked.seconds}", str(found))
    if fuzzed == 0 and asked.keep:
        add(asked.target, pack(found))
    return fuzzed


def _run(target: str, *options: str) -> int:
    failures = f"-artifact_prefix={WORK}/failed-{target}-"
    command = [sys.executable, "-m", "tests.fuzz.guided", target, f"-max_len={MOST_BYTES}", failures, *options]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
