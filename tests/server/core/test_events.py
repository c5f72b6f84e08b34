"""Who hears what: rooms, resuming, slow listeners, callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from nodelink.errors import Overloaded
from nodelink.task import TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.events import MOST_QUEUED, MOST_QUEUED_CHARS, PAGE, EventBus, EventFilter, Heard
from nodelink_server.core.ports import Batch, Change, EventName, Notice, TaskEvent
from nodelink_server.core.tally import Tally
from tests.support.clock import LoopClock
from tests.support.core_parts import Database, make_submission, make_task, running_core
from tests.support.fake_agent import FakeAgent

Stream = AsyncGenerator[Heard, None]


def _event(revision: int, name: str = EventName.TASK_PENDING, *, task_id: str = "t1", **fields: str) -> TaskEvent:
    return TaskEvent(revision, name, 0, task_id, **fields)  # type: ignore[arg-type]  # names of fields


def _output(text: str) -> TaskEvent:
    return TaskEvent(0, EventName.TASK_OUTPUT, 0, "t1", data={"text": text})


def _bus(database: Database | None = None) -> EventBus:
    return EventBus(store=(database or Database()).store(), clock=LoopClock(), tally=Tally())


async def _next(stream: Stream) -> Heard:
    async with asyncio.timeout(10):
        return await anext(stream)


async def _names(stream: Stream, count: int) -> list[str]:
    """The names of the next so many events."""
    names: list[str] = []
    while len(names) < count:
        names += [event.name for event in await _next(stream)]
    return names


async def _listening(bus: EventBus, wanted: EventFilter | None = None, *, after: int | None = None) -> Stream:
    stream = bus.watch(wanted or EventFilter(), after=after)
    [hello] = await _next(stream)
    assert (hello.name, hello.data) == (EventName.HELLO, {"revision": bus.newest})
    return stream


async def test_a_listener_hears_what_is_published_from_now_on() -> None:
    bus = _bus()
    bus.publish([_event(1)])
    stream = await _listening(bus)

    bus.publish([_event(2), _event(3)])

    assert [event.revision for event in await _next(stream)] == [2, 3]
    await stream.aclose()
    assert bus.listeners == 0


async def test_a_room_hears_its_own_task_alone() -> None:
    bus = _bus()
    stream = await _listening(bus, EventFilter(task_id="t2"))
    assert bus.has_room("t2")

    bus.publish([_event(1), _event(2, task_id="t2")])
    bus.publish([_event(0, EventName.TASK_OUTPUT, task_id="t2")])

    assert await _names(stream, 2) == [EventName.TASK_PENDING, EventName.TASK_OUTPUT]
    await stream.aclose()
    assert not bus.has_room("t2")


async def test_pool_and_type_select() -> None:
    bus = _bus()
    stream = await _listening(bus, EventFilter(pool="big", type="echo"))

    bus.publish([_event(1, pool="big", type="shell"), _event(2, pool="small", type="echo")])
    bus.publish([_event(3, pool="big", type="echo")])

    assert [event.revision for event in await _next(stream)] == [3]
    await stream.aclose()


async def test_an_agents_listener_hears_its_runs_in_the_agents_words() -> None:
    bus = _bus()
    stream = await _listening(bus, EventFilter(agent_id="a1"))
    mine = {"agent_id": "a1"}

    bus.publish([_event(1, EventName.AGENT_CONNECTED, task_id="", **mine), _event(2, EventName.TASK_SENT, **mine)])
    bus.publish([_event(3, EventName.TASK_STARTED, **mine), _event(4, EventName.TASK_STARTED, agent_id="a2")])
    bus.publish([_event(5, EventName.TASK_COMPLETED, **mine), _event(6, EventName.TASK_CANCELLED, **mine)])

    names = await _names(stream, 4)
    assert names == ["agent.connected", "agent.started", "agent.completed", "agent.failed"]
    await stream.aclose()


async def test_an_agents_listener_hears_alerts_about_it_and_not_those_about_others() -> None:
    bus = _bus()
    stream = await _listening(bus, EventFilter(agent_id="a1", names=frozenset({EventName.ALERT_RAISED})))

    bus.publish([_event(number, EventName.ALERT_RAISED, task_id="", agent_id=f"a{number}") for number in (2, 1, 3)])

    assert [event.agent_id for event in await _next(stream)] == ["a1"]
    await stream.aclose()


async def test_a_listener_that_resumes_misses_nothing_and_hears_nothing_twice() -> None:
    async with running_core() as core:
        await core.submit(*[make_submission() for _ in range(5)])
        stream = await _listening(core.manager.events, after=3)
        [task_id] = await core.submit()
        await core.manager.cancel(task_id)

        heard: list[int] = []
        while len(heard) < 10:
            heard += [event.revision for event in await _next(stream)]
        assert heard == list(range(4, 14))
        await stream.aclose()


async def test_what_is_published_while_old_events_are_read_is_heard_once() -> None:
    async with running_core() as core:
        await core.submit()
        core.database.hold("read")
        stream = await _listening(core.manager.events, after=0)
        first = asyncio.ensure_future(anext(stream))
        await core.database.until_held("read")
        await core.submit()
        core.database.let_go("read")

        heard = [event.revision for event in await first]
        heard += [event.revision for event in await _next(stream)]
        assert heard == [1, 2, 3, 4]
        await stream.aclose()


async def test_whoever_asks_for_what_is_kept_no_more_is_told_to_begin_again_and_then_hears_what_comes() -> None:
    async with running_core() as core:
        await core.submit()
        core.database.disk.blocks.clear()
        stream = await _listening(core.manager.events, after=0)

        [reset] = await _next(stream)
        assert (reset.name, reset.data) == (EventName.RESET, {"revision": 2})
        await core.submit()
        assert [event.revision for event in await _next(stream)] == [3, 4]
        await stream.aclose()


async def test_whoever_is_told_to_begin_again_hears_nothing_from_before_the_revision_that_is_named() -> None:
    async with running_core() as core:
        await core.submit()
        core.database.disk.blocks.clear()
        core.database.hold("read")
        stream = await _listening(core.manager.events, after=0)
        first = asyncio.ensure_future(anext(stream))
        await core.database.until_held("read")
        await core.submit()
        core.database.let_go("read")

        [reset] = await first
        assert (reset.name, reset.data) == (EventName.RESET, {"revision": 2})
        assert [event.revision for event in await _next(stream)] == [3, 4]
        await stream.aclose()


async def test_whoever_has_heard_what_never_was_is_told_to_begin_again() -> None:
    stream = await _listening(_bus(), after=99)

    assert await _names(stream, 1) == [EventName.RESET]
    await stream.aclose()


async def test_a_listener_that_is_too_slow_is_told_to_begin_again_and_delays_nobody() -> None:
    tally = Tally()
    bus = EventBus(store=Database().store(), clock=LoopClock(), tally=tally)
    slow, quick = await _listening(bus), await _listening(bus)
    heard = 0
    for first in range(1, MOST_QUEUED + 2, 100):
        bus.publish([_event(revision) for revision in range(first, first + 100)])
        heard += len(await _next(quick))

    assert await _names(slow, 1) == [EventName.RESET]
    assert [batch async for batch in slow] == []
    assert heard == 4_100
    assert tally.events_dropped >= MOST_QUEUED
    assert bus.listeners == 1
    await quick.aclose()


async def test_output_that_is_not_read_takes_only_so_much_memory() -> None:
    bus = _bus()
    stream = await _listening(bus, EventFilter(task_id="t1"))
    text = "x" * (MOST_QUEUED_CHARS // 8)
    for _ in range(3):  # what has been read is not counted any more
        for _ in range(8):
            bus.publish([_output(text)])
        assert await _names(stream, 8) == [EventName.TASK_OUTPUT] * 8

    for _ in range(9):
        bus.publish([_output(text)])
    assert await _names(stream, 1) == [EventName.RESET]
    assert [batch async for batch in stream] == []


async def test_listeners_that_want_the_same_are_told_the_very_same() -> None:
    bus = _bus()
    streams = [await _listening(bus, EventFilter(agent_id="a1")) for _ in range(2)]

    bus.publish([_event(1, EventName.TASK_STARTED, agent_id="a1")])

    [first], [second] = [await _next(stream) for stream in streams]
    assert first is second
    for stream in streams:
        await stream.aclose()


async def test_one_listener_too_many_is_refused_and_has_room_when_another_leaves() -> None:
    async with running_core(options=Options(max_listeners=2)) as core:
        bus = core.manager.events
        everything, room = await _listening(bus), await _listening(bus, EventFilter(task_id="t1"))
        with pytest.raises(Overloaded) as refused:
            await anext(bus.watch(EventFilter(), after=None))
        assert refused.value.retry_after
        assert bus.listeners == 2
        await room.aclose()
        again = await _listening(bus)
        await again.aclose()
        await everything.aclose()
        assert bus.listeners == 0


async def test_a_listener_from_now_on_may_resume_where_it_began_though_it_heard_nothing() -> None:
    async with running_core() as core:
        await core.submit()
        stream = core.manager.events.watch(EventFilter(), after=None)
        assert (await _next(stream)).upto == 2
        await stream.aclose()


async def test_a_listener_for_whom_nothing_comes_learns_how_far_it_may_resume() -> None:
    async with running_core() as core:
        stream = await _listening(core.manager.events, EventFilter(pool="quiet"))
        await core.submit()

        assert await _next(stream) == Heard([], 2)

        await core.submit()
        await core.submit()
        assert await _next(stream) == Heard([], 6)
        await stream.aclose()


async def test_nobody_is_told_again_how_far_everything_was_looked_at() -> None:
    async with running_core() as core:
        quiet = await _listening(core.manager.events, EventFilter(pool="quiet"))
        busy = await _listening(core.manager.events)
        await core.submit()
        assert (await _next(quiet)).upto == 2
        assert (await _next(busy)).upto == 0
        waiting = [asyncio.ensure_future(anext(stream)) for stream in (quiet, busy)]
        await asyncio.sleep(600)
        assert not any(one.done() for one in waiting)
        core.manager.events.close()
        await asyncio.wait(waiting)
        assert all(isinstance(one.exception(), StopAsyncIteration) for one in waiting)


async def test_a_bookmark_never_goes_before_an_event_that_waits() -> None:
    bus = _bus()
    ticking = asyncio.ensure_future(bus.run())
    stream = await _listening(bus, EventFilter(pool="p"))
    bus.publish([_event(1, pool="other")])
    await asyncio.sleep(60)
    bus.publish([_event(2, pool="p")])

    assert await _next(stream) == Heard([_event(2, pool="p")], 0)

    bus.publish([_event(3, pool="p")])
    bus.publish([_event(4, pool="other")])
    await asyncio.sleep(60)
    assert await _next(stream) == Heard([_event(3, pool="p")], 4)
    await stream.aclose()
    ticking.cancel()


async def test_a_quiet_listener_that_resumes_at_its_bookmark_has_missed_nothing_though_old_events_are_gone() -> None:
    async with running_core() as core:
        quiet = EventFilter(pool="quiet")
        stream = await _listening(core.manager.events, quiet, after=0)
        await core.submit()
        bookmark = (await _next(stream)).upto
        await stream.aclose()
        core.database.disk.blocks.clear()
        await core.submit(make_submission(pool="quiet"))

        stream = await _listening(core.manager.events, quiet, after=bookmark)
        assert await _names(stream, 2) == [EventName.TASK_CREATED, EventName.TASK_PENDING]
        await stream.aclose()
        stream = await _listening(core.manager.events, quiet, after=0)
        assert await _names(stream, 1) == [EventName.RESET]
        await stream.aclose()


async def test_a_tasks_room_begins_with_its_whole_history() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        [task_id] = await core.submit()
        await agent.connect()
        await agent.finish((await agent.task()).ref)

        stream = await _listening(core.manager.events, EventFilter(task_id=task_id))
        names = await _names(stream, 5)
        assert names == ["task.created", "task.pending", "task.sent", "task.started", "task.completed"]
        await stream.aclose()


async def test_every_listener_ends_when_the_bus_closes() -> None:
    bus = _bus()
    everything, room = await _listening(bus), await _listening(bus, EventFilter(task_id="t1"))

    bus.close()

    assert [batch async for batch in everything] == []
    assert [batch async for batch in room] == []


async def test_a_callback_that_breaks_harms_nobody_else() -> None:
    bus = _bus()
    heard: list[TaskEvent] = []

    def breaks(event: TaskEvent) -> None:
        raise ValueError(event.task_id)

    end_broken = bus.subscribe([EventName.TASK_PENDING], breaks)
    end = bus.subscribe([EventName.TASK_PENDING, EventName.TASK_SENT], heard.append)
    bus.publish([_event(1), _event(2, EventName.TASK_SENT), _event(3, EventName.TASK_COMPLETED)])
    assert [event.revision for event in heard] == [1, 2]

    end_broken()
    end()
    end()
    bus.publish([_event(4)])
    assert len(heard) == 2


async def test_events_of_agents_and_tasks_share_one_order() -> None:
    database = Database()
    store = database.store()
    change = Change(
        task=make_task(revision=0, status=TaskStatus.PENDING),
        expected=0,
        events=(EventName.TASK_CREATED, EventName.TASK_PENDING),
    )
    await store.apply(
        Batch(now=0, control_ms=0, changes=[change], notices=[Notice(EventName.AGENT_CONNECTED, "a1", "default")])
    )
    bus = _bus(database)
    bus.newest = 3

    stream = await _listening(bus, after=0)
    assert await _names(stream, 3) == ["task.created", "task.pending", "agent.connected"]
    await stream.aclose()


async def test_whoever_reads_so_slowly_that_what_is_kept_goes_meanwhile_is_told_to_begin_again() -> None:
    async with running_core() as core:
        for _ in range(15):
            await core.submit(*[make_submission() for _ in range(50)])
        stream = await _listening(core.manager.events, after=0)
        assert [event.revision for event in await _next(stream)] == list(range(1, PAGE + 1))
        del core.database.disk.blocks[:-2]

        [reset] = await _next(stream)
        assert reset.name == EventName.RESET
        await core.submit()
        assert [event.revision for event in await _next(stream)] == [1_501, 1_502]
        await stream.aclose()
