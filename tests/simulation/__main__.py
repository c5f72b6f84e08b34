"""Runs seeds by hand: `python -m tests.simulation 17 -v`, `python -m tests.simulation --seeds 0:10000`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable

import structlog

from tests.simulation.checker import Violation, check
from tests.simulation.history import History
from tests.simulation.mutants import MUTANTS, Mutant, spoiled_agent, spoiled_server
from tests.simulation.trace import trace
from tests.simulation.world import simulate


def main(arguments: list[str]) -> int:
    """Run what was asked for. Returns 1 if a promise was broken."""
    asked = _parser().parse_args(arguments)
    level = logging.INFO if asked.verbose else logging.CRITICAL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    mutant = MUTANTS[asked.mutant] if asked.mutant else Mutant()
    began, runs, broken = time.monotonic(), 0, 0
    for seed in _seeds(asked):
        history, violations = _run(seed, mutant)
        runs += 1
        broken += bool(violations)
        if asked.verbose:
            say("\n".join(trace(history)))
        for violation in violations:
            say(f"seed {seed}: {violation.rule}: {violation.what}")
        if violations and asked.first:
            break
    say(f"{runs} seeds in {time.monotonic() - began:.1f} s; {broken} broke a promise")
    return 1 if broken else 0


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def _run(seed: int, mutant: Mutant) -> tuple[History, list[Violation]]:
    history = simulate(seed, make_manager=spoiled_server(mutant), make_core=spoiled_agent(mutant))
    return history, check(history)


def _seeds(asked: argparse.Namespace) -> Iterable[int]:
    if asked.seed is not None:
        return [asked.seed]
    first, _, behind = asked.seeds.partition(":")
    return range(int(first), int(behind))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("seed", nargs="?", type=int, help="one seed")
    which.add_argument("--seeds", metavar="A:B", help="all seeds from A, without B")
    parser.add_argument("-v", "--verbose", action="store_true", help="print everything that happened")
    parser.add_argument("--first", action="store_true", help="end with the first seed that breaks a promise")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="spoil the protocol in this way")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
