"""Everything that a network can do to the connection of an agent, with a server and an agent behind it at work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.notes import Notes
from tests.faults.rules import judge
from tests.faults.runs import load_on, until_quiet
from tests.faults.stage import stage_in
from tests.support.processes import until
from tests.support.tcp_proxy import Fault

FAULT_SECONDS = 1.5
CALLERS = 6
GOES_ON_SECONDS = 30.0
GROUPS: Sequence[Sequence[Fault]] = (
    (Fault.DROP, Fault.RESET, Fault.HALF_OPEN, Fault.SLOW_CLOSE),
    (Fault.HOLE_UP, Fault.HOLE_DOWN, Fault.DUPLICATE, Fault.REORDER),
    (Fault.DELAY, Fault.JITTER, Fault.THROTTLE, Fault.SLICES),
)

pytestmark = pytest.mark.slow


def test_every_fault_is_in_a_group() -> None:
    assert sorted(fault for group in GROUPS for fault in group) == sorted(Fault)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("group", GROUPS, ids="-".join)
async def test_behind_a_bad_network_every_promise_is_kept(group: Sequence[Fault], tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    async with stage_in(tmp_path, notes, agents=2) as stage, load_on(stage, notes, 0) as load:
        calling = asyncio.create_task(load.run(CALLERS))
        for fault in (*group, *group):
            notes.write("injury", kind=f"network {fault}", who="all", seconds=FAULT_SECONDS)
            for station in stage.stations:
                station.proxy.inflict(fault)
            await asyncio.sleep(FAULT_SECONDS)
            stage.heal()
            await _goes_on(load)
        load.stop()
        await until_quiet(stage, notes, calling)
        await stage.close_down()
    notes.close()
    verdict = await asyncio.to_thread(judge, tmp_path)

    assert not verdict.violations, "\n".join(map(str, verdict.violations))


async def _goes_on(load: Load) -> None:
    """Wait until one more task is over."""
    over = load.over
    await until(lambda: load.over > over or None, "work goes on", GOES_ON_SECONDS)
