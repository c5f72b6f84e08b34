"""The promises hold in a thousand worlds, each with faults of its own."""

from __future__ import annotations

import pytest

from tests.simulation.checker import check
from tests.simulation.mutants import MUTANTS, Mutant, spoiled_agent, spoiled_server
from tests.simulation.world import simulate

SEEDS = 1_000
SEEDS_PER_TEST = 25
MOST_SEEDS_FOR_A_MUTANT = 500


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_promise_is_kept_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        violations = check(simulate(seed))
        assert not violations, f"seed {seed}; replay: python -m tests.simulation {seed} -v\n{violations[:5]}"


def test_a_seed_gives_the_same_run_every_time() -> None:
    for seed in range(10):
        first, again = simulate(seed), simulate(seed)
        assert first.commits
        assert first == again, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if not mutant.is_rare])
def test_a_broken_rule_of_the_protocol_is_found(name: str) -> None:
    assert any(_is_found(MUTANTS[name], seed) for seed in range(MOST_SEEDS_FOR_A_MUTANT)), f"{name} was not found"


def _is_found(mutant: Mutant, seed: int) -> bool:
    return bool(check(simulate(seed, make_manager=spoiled_server(mutant), make_core=spoiled_agent(mutant))))
