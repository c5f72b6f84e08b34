"""kill -9 of servers, agents and spawners, again and again under load; then every promise is asked for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.runs import Order, run_storm
from tests.faults.storm import Rules

KILLS, STORMS = 60, 2
FEWER, CALLERS = 20, 12
TASKS_FOR_A_KILL = 1.5
"""At least, or too little went on to be broken."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("storm", range(STORMS))
async def test_sixty_kills_break_no_promise(storm: int, tmp_path: Path) -> None:
    await _survives(Order(seed=_seed(storm), rules=Rules(kills=KILLS)), tmp_path)


@pytest.mark.tmpfs
async def test_kills_and_full_disks_break_no_promise(tmp_path: Path) -> None:
    await _survives(
        Order(seed=_seed(), rules=Rules(kills=FEWER), callers=CALLERS, disks=True), tmp_path, "fill disk of"
    )


@pytest.mark.faketime
async def test_kills_and_wall_clocks_that_jump_break_no_promise(tmp_path: Path) -> None:
    order = Order(seed=_seed(), rules=Rules(kills=FEWER), callers=CALLERS, clocks=True)
    await _survives(order, tmp_path, "set clock of")


async def _survives(order: Order, directory: Path, *injuries: str) -> None:
    report = await run_storm(order, directory / "run")

    broken = "\n".join(map(str, report.verdict.violations))
    assert not report.verdict.violations, f"seed {order.seed}, {directory}:\n{broken}"
    assert report.kills >= order.rules.kills - 2
    assert sum(report.statuses.values()) >= TASKS_FOR_A_KILL * order.rules.kills
    assert [word for word in injuries if not any(name.startswith(word) for name in report.done)] == []


def _seed(number: int = 0) -> int:
    """Another one in every run; two storms of one run never have the same."""
    return random.SystemRandom().randrange(1 << 30) * 2 + number
