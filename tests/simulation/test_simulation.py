"""The promises hold in ten thousand worlds, each with faults of its own; and three ways to break them are found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.checking.gates import Counts, breaches
from tests.simulation.campaign import catch_mutant, run_seed
from tests.simulation.gates import GATES, LEAST_TASKS
from tests.simulation.mutants import MUTANTS, rotated
from tests.simulation.world import simulate

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "10000"))
SEEDS_PER_TEST = 100
MOST_SEEDS_FOR_A_MUTANT = 2_000
ROOT = Path(__file__).parents[2]
DIGEST = """
import hashlib, sys
from tests.simulation.campaign import be_quiet
from tests.simulation.world import simulate
be_quiet()
for seed in map(int, sys.argv[1:]):
    history = simulate(seed)
    print(seed, hashlib.sha256(repr((history.commits, history.runs, history.kept)).encode()).hexdigest())
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_promise_is_kept_whatever_goes_wrong(first: int) -> None:
    total = Counts()
    for seed in range(first, first + SEEDS_PER_TEST):
        found = run_seed(seed)
        total.add(found.counts)
        replay = f"seed {seed}; replay: scripts/simulate {seed} -v"
        assert not found.violations, f"{replay}\n{found.violations[:5]}"
    assert total.tasks < LEAST_TASKS or not list(breaches(total, GATES))


def test_a_seed_gives_the_same_run_every_time() -> None:
    for seed in range(10):
        first, again = simulate(seed), simulate(seed)
        assert first.commits
        assert first == again, f"seed {seed}"


def test_a_run_depends_neither_on_the_seed_of_hashes_nor_on_what_its_process_did_before() -> None:
    """Another process lives through the same, though its memory is laid out otherwise."""
    seeds = list(map(str, range(20)))

    assert _digests("1", seeds) == _digests("2", seeds[::-1])


def _digests(hash_seed: str, seeds: Sequence[str]) -> set[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", DIGEST, *seeds]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def _rotation() -> int:
    """A number that changes from one commit to the next, and is the same for every process of one test run."""
    command = ["git", "rev-list", "--count", "HEAD"]
    try:
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):  # an export of the sources has no commits
        return 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", rotated(_rotation()))
def test_a_broken_rule_of_the_protocol_is_found(name: str) -> None:
    catch = catch_mutant(name, first=0, most=MOST_SEEDS_FOR_A_MUTANT)

    assert catch.seeds is not None, f"{name} was not found in {MOST_SEEDS_FOR_A_MUTANT} seeds"


def test_every_mutant_comes_up_as_the_rotation_goes_on() -> None:
    assert {name for number in range(len(MUTANTS)) for name in rotated(number)} == set(MUTANTS)
