"""What can be asked: how the scheduler stands, what an agent's sessions were, which tasks match."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import AgentNotFound, InvalidTask, LinkLost
from nodelink.task import Execution, Started
from nodelink_server.core.assignment import Assignment, Unassigned
from nodelink_server.core.lookup import SchedulerStatus
from nodelink_server.core.ports import AgentSessionRecord, TaskQuery
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent


async def sessions(core: Core, **page: int) -> list[tuple[int, str]]:
    """The sessions of agent a1: number and why it ended."""
    return [(one.number, one.reason) for one in await core.manager.agent_sessions("a1", **page)]


async def until_ended(core: Core, number: int) -> AgentSessionRecord:
    """A session of agent a1, when its end is durable."""

    async def has_ended() -> bool:
        return (await core.manager.agent_sessions("a1", before=number + 1, limit=1))[0].disconnected_at is not None

    await eventually(has_ended)
    [session] = await core.manager.agent_sessions("a1", before=number + 1, limit=1)
    return session


async def test_the_scheduler_tells_what_waits_what_runs_and_what_is_free() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=5)
        await agent.connect()
        await core.submit(make_submission(), make_submission())
        agent.say((await agent.task()).ref, Started())
        await core.submit(*[make_submission(pool="gpu", priority=priority) for priority in (1, 25, 60, 100, 76)])

        status = await core.manager.scheduler_status()

        assert status == SchedulerStatus(
            state="running",
            queued_tasks=5,
            running_tasks=2,
            max_concurrent_tasks=0,
            available_slots=3,
            queue_by_priority={"CRITICAL": 2, "HIGH": 1, "NORMAL": 0, "LOW": 2},
        )
        assert list(status.queue_by_priority) == ["CRITICAL", "HIGH", "NORMAL", "LOW"]
        queued = {("gpu", "LOW"): 2, ("gpu", "HIGH"): 1, ("gpu", "CRITICAL"): 2}
        assert dict(await core.manager.queued()) == queued
        await core.manager.drain()
        assert (await core.manager.scheduler_status()).state == "paused"


async def test_a_list_takes_labels_and_a_search_and_says_what_it_cannot_read() -> None:
    async with running_core() as core:
        first, _ = await core.submit(make_submission(metadata={"k": "v"}), make_submission())
        for query in (TaskQuery(labels=frozenset({("k", "v")})), TaskQuery(q="k=v")):
            [found] = await core.manager.list(query)
            assert found.task.id == first
            assert "no agent" in found.task.message
        assert (await core.manager.list(TaskQuery(q="echo", page_size=1))).next_key
        with pytest.raises(InvalidTask, match="q: "):
            await core.manager.list(TaskQuery(q="not one thing"))
        with pytest.raises(InvalidTask, match="labels: "):
            await core.manager.list(TaskQuery(labels=frozenset((str(number), "v") for number in range(65))))


async def test_a_session_is_written_down_from_its_hello_to_its_end() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        began = core.clock.now()
        await agent.connect()
        [session] = await core.manager.agent_sessions("a1")
        assert session == AgentSessionRecord(agent_id="a1", number=1, connected_at=began)

        await asyncio.sleep(3)
        await agent.hang_up(left=True)
        ended = await until_ended(core, 1)
        assert (ended.disconnected_at, ended.reason) == (began + 3_000, "goodbye")


async def test_a_session_says_why_it_ended() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await agent.hang_up()
        await agent.connect()
        await agent.connect()  # while the one before is open
        assert (await until_ended(core, 2)).reason == "replaced"
        await asyncio.sleep(60)  # without a heartbeat
        assert isinstance(await agent.ended(), LinkLost)
        await until_ended(core, 3)

        assert await sessions(core) == [(3, "silent"), (2, "replaced"), (1, "lost")]
        assert await sessions(core, before=3, limit=1) == [(2, "replaced")]
        with pytest.raises(AgentNotFound):
            await core.manager.agent_sessions("nobody's")


async def test_sessions_that_end_because_the_server_stops_say_so() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await core.manager.drain()
        await agent.hang_up()

        assert (await until_ended(core, 1)).reason == "server_stopped"


async def test_a_start_ends_the_sessions_of_a_server_that_was_killed() -> None:
    database = Database()
    async with running_core(database) as core:
        await FakeAgent(core).connect()
        await asyncio.sleep(2.5)
    async with running_core(database) as core:
        [session] = await core.manager.agent_sessions("a1")

    assert (session.reason, (session.disconnected_at or 0) - session.connected_at) == ("server_stopped", 2_000)


async def test_a_hello_that_nobody_waits_for_any_longer_leaves_no_open_session() -> None:
    async with running_core() as core:
        core.database.hold("apply")
        connect = asyncio.ensure_future(FakeAgent(core).connect())
        await core.database.until_held("apply")
        connect.cancel()
        await asyncio.sleep(0)
        core.database.let_go("apply")
        await eventually(lambda: bool(core.database.disk.sessions))
        await eventually(lambda: core.database.disk.sessions["a1", 1].reason == "lost")


async def test_a_session_that_ends_while_the_database_is_away_is_written_down_when_it_is_back() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        core.database.failing.add("apply")
        await agent.hang_up()
        await asyncio.sleep(60)
        ended_at = core.clock.now() - 60_000
        core.database.failing.clear()

        session = await until_ended(core, 1)
        assert session.reason == "lost"
        assert abs((session.disconnected_at or 0) - ended_at) < 1_000


async def test_a_session_never_ends_before_it_began_though_the_clock_was_set_back() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        core.clock.skew_ms = -3_600_000
        await agent.hang_up()

        session = await until_ended(core, 1)
        assert session.disconnected_at == session.connected_at


async def test_a_waiting_task_tells_how_the_tries_to_give_it_away_stand() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        ready_at = core.clock.now()
        first = (await core.manager.get(task_id)).assignment
        assert first == Assignment(1, ready_at + 10_000, Unassigned.NO_POOL)

        agent = FakeAgent(core, handlers={"shell": Execution.ONCE})
        await agent.connect()
        await asyncio.sleep(40)
        later = (await core.manager.get(task_id)).assignment
        assert later == Assignment(3, ready_at + 45_000, Unassigned.NO_AGENT_ONLINE)


async def test_a_task_with_an_agent_and_one_without_a_slot_tell_so() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=1)
        await agent.connect()
        given, waiting = await core.submit(make_submission(), make_submission())
        await agent.task()

        assert (await core.manager.get(given)).assignment is None
        tries = (await core.manager.get(waiting)).assignment
        assert tries is not None
        assert tries.reason is Unassigned.NONE_FREE


async def test_should_a_wake_up_be_lost_what_waits_is_looked_over() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=1)
        await agent.connect()
        scheduler = core.manager.scheduler
        wake = scheduler._wake_one
        scheduler._wake_one = lambda shape: None  # type: ignore[method-assign]
        await core.submit(make_submission(delay_ms=1_000))
        await asyncio.sleep(3)
        assert not agent.tasks

        scheduler._wake_one = wake  # type: ignore[method-assign]
        await agent.task()
