"""A server that is away for a while, stopped or killed: what ran goes on, nothing is lost, every result comes in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import Services
from tests.system.outage import outage

TASKS = 200
AWAY_SECONDS = 10.0  # longer than agents keep still after a failed try to come back

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
async def test_two_hundred_commands_run_once_and_deliver_though_the_server_was_away(
    services: Services, tmp_path: Path, killed: bool
) -> None:
    report = await outage(services, tmp_path, tasks=TASKS, seconds=AWAY_SECONDS, killed=killed)

    assert (report.accepted, report.started, report.started_twice) == (TASKS, TASKS, 0)
    assert (report.results, report.whole_outputs, report.lost) == (TASKS, TASKS, 0)
