"""How often agents are to report, by how many there are; and that nothing is taken for silence that was agreed on."""

from __future__ import annotations

import asyncio

import pytest

from nodelink_server.core.pace import Pace, Rhythm, period_for
from tests.support.core_parts import Core, make_session, running_core
from tests.support.fake_agent import FakeAgent

SHORT, LONG = 5_000, 25_000
MANY = 10_000
"""So many report every 25 s."""


@pytest.mark.parametrize(
    "agents, heartbeat, period",
    [
        (1, 5.0, 5.0),
        (2_000, 5.0, 5.0),
        (2_001, 5.0, 2_001 / 400),
        (20_000, 5.0, 50.0),
        (20_000, 60.0, 60.0),
        (2_000, 0.1, 0.1),
        (2_001, 0.1, 2_001 / 400),
    ],
)
def test_many_agents_report_less_often(agents: int, heartbeat: float, period: float) -> None:
    assert period_for(agents, heartbeat) == pytest.approx(period)


def test_however_many_they_are_they_report_some_times_within_a_lease() -> None:
    pace = Pace(5.0, lease=40.0)
    pace.set_for(MANY)
    assert pace.period == 10.0


def test_a_longer_period_counts_from_when_it_is_told() -> None:
    rhythm = Rhythm(5.0)
    assert rhythm.kept(SHORT, 25.0) == LONG
    assert rhythm.period == 25.0


def test_a_shorter_period_counts_from_when_the_agent_says_that_it_keeps_it() -> None:
    rhythm = Rhythm(25.0)
    assert rhythm.kept(LONG, 5.0) == SHORT
    rhythm.kept(LONG, 5.0)
    assert rhythm.period == 25.0
    rhythm.kept(SHORT, 5.0)
    assert rhythm.period == 5.0


def test_nothing_else_is_told_before_the_agent_keeps_what_it_was_told() -> None:
    rhythm = Rhythm(5.0)
    rhythm.kept(SHORT, 25.0)
    assert [rhythm.kept(SHORT, 5.0), rhythm.kept(SHORT, 50.0)] == [0, 0]
    assert rhythm.kept(LONG, 50.0) == 50_000


def test_a_small_difference_is_not_told() -> None:
    rhythm = Rhythm(25.0)
    assert [rhythm.kept(LONG, wanted) for wanted in (25.0, 27.0, 23.0)] == [0, 0, 0]


async def test_an_agent_that_says_how_often_it_reports_is_told_when_it_is_to_be_otherwise() -> None:
    pace = Pace(5.0)
    session = make_session(pace=pace)
    pace.set_for(MANY)

    session.heartbeat(1, load=0, draining=False, interval_ms=SHORT)
    assert (await session.outgoing()).heartbeat_interval_ms == LONG
    session.heartbeat(2, load=0, draining=False, interval_ms=LONG)
    assert (await session.outgoing()).heartbeat_interval_ms == 0


async def test_two_heartbeats_at_once_are_told_it_as_well() -> None:
    pace = Pace(5.0)
    session = make_session(pace=pace)
    pace.set_for(MANY)

    for number in (1, 2):
        session.heartbeat(number, load=0, draining=False, interval_ms=SHORT)

    assert (await session.outgoing()).heartbeat_interval_ms == LONG


async def test_an_agent_that_does_not_say_it_keeps_what_it_was_told_when_it_came() -> None:
    pace = Pace(5.0)
    session = make_session(pace=pace)
    pace.set_for(MANY)

    session.heartbeat(1, load=0, draining=False)

    assert (await session.outgoing()).heartbeat_interval_ms == 0
    assert session.period == 5.0


async def test_what_is_wanted_follows_how_many_are_connected() -> None:
    async with running_core() as core:
        first, pace = FakeAgent(core), core.manager.agents.pace
        pace.set_for(MANY)
        await first.connect()
        assert pace.period == 5.0
        pace.set_for(MANY)
        await first.hang_up()
        assert pace.period == 5.0


async def test_an_agent_that_was_told_to_report_seldom_is_not_silent_meanwhile() -> None:
    async with running_core() as core:
        agent = await _told_otherwise(core, was=SHORT, wanted=LONG)
        await asyncio.sleep(3 * LONG / 1000 - 3)
        assert agent.session.is_open
        await asyncio.sleep(10)
        assert not agent.session.is_open


async def test_an_agent_that_was_told_to_report_often_is_given_time_to_hear_of_it() -> None:
    async with running_core() as core:
        agent = await _told_otherwise(core, was=LONG, wanted=SHORT)
        await asyncio.sleep(LONG / 1000 + 3)
        assert agent.session.is_open

        agent.beat(interval_ms=SHORT)
        await asyncio.sleep(3 * SHORT / 1000 + 3)
        assert not agent.session.is_open


async def _told_otherwise(core: Core, *, was: int, wanted: int) -> FakeAgent:
    """An agent that came when agents reported at one pace, and is told of another by the answer to its heartbeat."""
    core.manager.agents.pace = Pace(was / 1000)
    agent = FakeAgent(core)
    await agent.connect()
    agent.manager.agents.pace.period = wanted / 1000
    agent.beat(interval_ms=was)
    return agent
