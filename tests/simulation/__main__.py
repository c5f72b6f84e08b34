"""Runs the simulation by hand; scripts/simulate does it on every core.

One seed, with everything that happened: `17 -v`. Many: `--seeds 10000 --first-seed 0`. Mutants, each until it is
caught: `--mutants`, or by name, or `--rotate K` for three of them by a number.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import structlog

from tests.checking.checker import check
from tests.checking.gates import Counts, breaches
from tests.checking.history import History
from tests.checking.rule import Violation
from tests.simulation.campaign import Catch, Found, catch_mutants, run_seeds
from tests.simulation.gates import GATES, LEAST_TASKS
from tests.simulation.mutants import MUTANTS, Mutant, rotated, simulate_with
from tests.simulation.trace import trace

MOST_SEEDS_FOR_A_MUTANT = 2_000
SECONDS_PER_REPORT = 10.0


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for. Returns 1 if a promise was broken, or a mutant was not caught."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        return _one(asked)
    if asked.mutants is not None or asked.rotate is not None:
        return _mutants(asked)
    return _many(asked)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# -- one seed ---------------------------------------------------------------------------------------------------------


def _one(asked: argparse.Namespace) -> int:
    level = logging.INFO if asked.verbose else logging.CRITICAL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    history, violations = _run(asked.seed, MUTANTS[asked.mutants[0]] if asked.mutants else Mutant())
    if asked.verbose:
        say("\n".join(trace(history)))
    for violation in violations:
        say(f"seed {asked.seed}: {violation.rule}: {violation.what}")
    return 1 if violations else 0


def _run(seed: int, mutant: Mutant) -> tuple[History, list[Violation]]:
    history = simulate_with(seed, mutant)
    return history, check(history)


# -- many seeds -------------------------------------------------------------------------------------------------------


def _many(asked: argparse.Namespace) -> int:
    began = reported = time.monotonic()
    total, done, broken = Counts(), 0, 0
    for found in run_seeds(asked.first_seed, asked.seeds, jobs=asked.jobs):
        done += 1
        total.add(found.counts)
        if found.violations:
            broken += 1
            _tell(found)
        now = time.monotonic()
        if now - reported > SECONDS_PER_REPORT:
            reported = now
            say(f"{done} of {asked.seeds} seeds, {done / (now - began):.1f} a second; {broken} broke a promise")
    seconds = time.monotonic() - began
    gates = list(breaches(total, GATES)) if total.tasks >= LEAST_TASKS else []
    for breach in gates:
        say(f"too often: {breach}")
    say(f"{done} seeds in {seconds:.1f} s, {done / seconds:.1f} a second; {broken} broke a promise")
    say(f"{total}")
    return 1 if broken or gates else 0


def _tell(found: Found) -> None:
    for rule, what in found.violations[:5]:
        say(f"seed {found.seed}: {rule}: {what}")
    say(f"    at commit {_commit()}; replay: python -m tests.simulation {found.seed} -v")


def _commit() -> str:
    """What is checked out; what was changed since is not known here."""
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


# -- mutants ----------------------------------------------------------------------------------------------------------


def _mutants(asked: argparse.Namespace) -> int:
    names = rotated(asked.rotate) if asked.rotate is not None else asked.mutants or sorted(MUTANTS)
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        say(f"there is no mutant {unknown[0]}; there are: {', '.join(sorted(MUTANTS))}")
        return 2
    most = min(asked.seeds, MOST_SEEDS_FOR_A_MUTANT)
    catches = []
    for catch in catch_mutants(names, first=asked.first_seed, most=most, jobs=asked.jobs):
        say(_line(catch, most))
        catches.append(catch)
    missed = [catch.mutant for catch in catches if catch.seeds is None]
    say(f"{len(catches) - len(missed)} of {len(catches)} mutants were caught; missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


def _line(catch: Catch, most: int) -> str:
    if catch.seeds is None:
        return f"{catch.mutant:<48}  NOT CAUGHT in {most} seeds"
    return f"{catch.mutant:<48}  {catch.seeds:>5} seeds  {catch.by}: {catch.what[:100]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="one seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="print everything that happened in it")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds (default: 10,000; mutants: 2,000)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="on how many cores (default: all)")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="spoil the protocol in these ways (default: all)")
    parser.add_argument("--rotate", type=int, metavar="K", help="three mutants, others for every K")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
