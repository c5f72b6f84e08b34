"""A thousand agents lose their server at once, and come back to the next one with what they have to deliver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.herd import MIB, come_back
from tests.support.processes import Services

AGENTS = 1_000
MOST_GROWN = 1.5
ROOM = 64 * MIB
"""For the allocator, beside what a server with as many agents had before."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


async def test_a_thousand_agents_come_back_and_all_their_results_are_final(services: Services, tmp_path: Path) -> None:
    report = await come_back(services, tmp_path, AGENTS)

    assert report.unfinished == 0
    assert report.memory_most < MOST_GROWN * report.memory_before + ROOM
    assert report.reads > 0
