"""Limits and rates: never more at a time, or in a time, than there are places; and nobody is held up by another's."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from nodelink.task import Execution, Rate, Reason, TaskStatus, WhenTaken
from nodelink.values import evolve
from nodelink_server.core.assembly import Options
from nodelink_server.core.attempt import Hold
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.limits import DOUBT_MS, Blocking, Limits, key_of, name_of
from nodelink_server.core.task import Task, given_back, rate_key
from tests.support.clock import ManualClock
from tests.support.core_parts import (
    COMPLETED,
    Core,
    Database,
    eventually,
    make_spec,
    make_submission,
    make_task,
    running_core,
)
from tests.support.fake_agent import FakeAgent

DB = {"db": 2}
RATE = {"mail": Rate(2, 3_000)}
SECONDS = 3


async def _agent(core: Core, *, slots: int = 8, agent_id: str = "a1", **changes: object) -> FakeAgent:
    agent = FakeAgent(core, slots=slots, agent_id=agent_id)
    await agent.connect(**changes)  # type: ignore[arg-type]  # names of fields
    return agent


async def _given(agent: FakeAgent) -> list[str]:
    """What an agent has been given once nothing moves any more."""
    await asyncio.sleep(1)
    return [request.ref.task_id for request in agent.tasks]


async def _set(core: Core, name: str, most: int | None) -> None:
    await core.manager._store.set_limit(name, most, 0)
    core.manager.rooms.limits.set(name, most)


# -- keys that tasks name ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution", list(Execution))
async def test_of_the_tasks_that_name_a_limit_so_many_are_with_agents_at_a_time(execution: Execution) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ids = await core.submit(*[make_submission(execution=execution, limits=DB) for _ in range(5)])

        for place in range(5):
            assert await _given(agent) == ids[: place + 2]
            await agent.finish(agent.tasks[place].ref)
        assert core.manager.rooms.limits.is_idle
        assert core.database.disk.holds == {}


async def test_tasks_without_a_key_and_with_another_are_not_held_up() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(*[make_submission(limits=DB) for _ in range(4)])
        free = await core.submit(make_submission(limits={"api": 1}), make_submission())

        assert set((await _given(agent))[2:]) == set(free)


async def test_a_task_needs_a_place_under_each_of_its_keys() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [one] = await core.submit(make_submission(limits={"db": 1}))
        both, api = await core.submit(make_submission(limits={"db": 1, "api": 1}), make_submission(limits={"api": 1}))
        assert await _given(agent) == [one, api]

        await agent.finish(agent.tasks[0].ref)
        assert await _given(agent) == [one, api]
        await agent.finish(agent.tasks[1].ref)
        assert await _given(agent) == [one, api, both]


async def test_one_that_lacks_another_key_does_not_hold_up_those_behind_it() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(make_submission(limits={"db": 1}), make_submission(limits={"api": 1}))
        ids = await core.submit(
            *[make_submission(limits={"db": 1, "api": 1}) for _ in range(20)],
            make_submission(limits={"db": 1}),
        )
        assert len(await _given(agent)) == 2
        await agent.finish(agent.tasks[0].ref)
        assert (await _given(agent))[2:] == [ids[-1]]


async def test_of_several_numbers_for_a_key_the_smallest_counts() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(*[make_submission(limits={"db": 3}) for _ in range(2)])
        strict, loose, last = await core.submit(*[make_submission(limits={"db": most}) for most in (2, 3, 3)])

        assert (await _given(agent))[2:] == [loose]
        await agent.finish(agent.tasks[0].ref)
        assert (await _given(agent))[3:] == [last]
        for place in (1, 2):
            await agent.finish(agent.tasks[place].ref)
        [late] = await core.submit(make_submission(limits={"db": 3}))
        assert (await _given(agent))[4:] == [strict]
        await agent.finish(agent.tasks[4].ref)
        assert (await _given(agent))[5:] == [late]


async def test_a_lock_is_a_limit_of_one_by_the_same_name() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        first, _ = await core.submit(make_submission(lock="db"), make_submission(limits=DB))

        assert await _given(agent) == [first]


async def test_places_are_kept_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        await core.submit(*[make_submission("shell", limits=DB, payload=b'{"command":"x"}') for _ in range(3)])
        assert len(await _given(agent)) == 2
        await agent.hang_up()
    async with running_core(database) as core:
        other = await _agent(core, agent_id="a2")
        await core.submit(make_submission(limits=DB))
        assert await _given(other) == []
        assert set(database.disk.holds) == {Hold("db", 0), Hold("db", 1)}


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_places_of_an_attempt_that_is_over_are_not_taken_for_those_of_the_next(restarts: bool) -> None:
    """The database says first that a task waits again, and somebody may read it there before its places are freed."""
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(limits=DB))
        await agent.task()
        if not restarts:
            await _gives_places_once(core, task_id)
    if restarts:
        async with running_core(database) as core:
            await _gives_places_once(core, task_id)


async def _gives_places_once(core: Core, task_id: str) -> None:
    limits, task = core.manager.rooms.limits, (await core.manager.get(task_id)).task
    assert task.attempt is not None
    waits = given_back(task)

    assert not limits.reserve(waits, "a1")
    limits.freed(task_id, task.attempt.holds)
    await asyncio.sleep(1)  # others that wait for them come first
    assert limits.reserve(waits, "a1")
    assert limits.reserve(waits, "a1")


async def test_of_many_that_wait_for_a_place_memory_holds_few() -> None:
    async with running_core() as core:
        agent = await _agent(core, slots=100)
        for _ in range(10):
            await core.submit(*[make_submission(limits=DB) for _ in range(100)])
        await asyncio.sleep(1)
        assert len(core.manager.registry) < 10
        for place in range(30):
            await agent.finish((await agent.task(place)).ref)
        assert len(await _given(agent)) == 32


# -- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution", list(Execution))
async def test_in_the_time_of_a_rate_so_many_start(execution: Execution) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(*[make_submission(execution=execution, rates=RATE) for _ in range(7)])
        starts: list[float] = []
        for place in range(7):
            request = await agent.task(place)
            starts.append(asyncio.get_running_loop().time())
            agent.say(request.ref, COMPLETED)

        assert all(later - start >= SECONDS for start, later in zip(starts, starts[2:], strict=False))
        assert starts[-1] - starts[0] < 4 * SECONDS
        assert all(later >= earlier for earlier, later in pairwise(starts))


async def test_a_rate_that_is_used_up_holds_up_nobody_else() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(*[make_submission(rates=RATE) for _ in range(3)])
        [free] = await core.submit(make_submission())

        assert (await _given(agent))[2:] == [free]


async def test_a_rate_is_kept_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        await core.submit(*[make_submission(rates=RATE) for _ in range(3)])
        assert len(await _given(agent)) == 2
        await agent.hang_up()
    async with running_core(database) as core:
        other = await _agent(core, agent_id="a2")
        assert await _given(other) == []
        await eventually(lambda: len(other.tasks) == 1)


async def test_a_rate_of_a_task_that_was_not_given_away_after_all_is_not_used() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        agent.accepts = False
        await core.submit(*[make_submission("shell", rates={"mail": Rate(1, 3_600_000)}, payload=b'{"command":"x"}')])
        await agent.offer()
        await agent.hang_up()
        other = await _agent(core, agent_id="a2")
        assert len(await _given(other)) == 1


async def test_rates_that_are_not_used_any_more_are_forgotten() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(*[make_submission(rates={f"k{number}": Rate(1, 1_000)}) for number in range(5)])
        await _given(agent)
        await asyncio.sleep(2)
        core.manager.rooms.limits.tidy()
        assert not core.manager.rooms.limits._used


# -- what is set for all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["running", "pool:default", "type:echo", "agent:a1"])
async def test_a_limit_that_is_set_holds_back_what_it_is_about(name: str) -> None:
    async with running_core() as core:
        await _set(core, name, 2)
        agent = await _agent(core)
        ids = await core.submit(*[make_submission() for _ in range(4)])
        assert await _given(agent) == ids[:2]

        await agent.finish(agent.tasks[0].ref)
        assert await _given(agent) == ids[:3]
        await _set(core, name, 3)
        assert await _given(agent) == ids
        await _set(core, name, 0)
        await agent.finish(agent.tasks[1].ref)
        await core.submit()
        assert await _given(agent) == ids
        await _set(core, name, None)
        assert len(await _given(agent)) == 5


@pytest.mark.parametrize("name", ["pool:other", "type:shell", "agent:a2"])
async def test_a_limit_that_is_about_others_holds_nothing_back(name: str) -> None:
    async with running_core() as core:
        await _set(core, name, 0)
        agent = await _agent(core)
        ids = await core.submit(make_submission(), make_submission())
        assert await _given(agent) == ids


async def test_where_one_agent_is_full_by_its_limit_another_goes_on() -> None:
    async with running_core() as core:
        await _set(core, "agent:a1", 1)
        first, second = await _agent(core), await _agent(core, agent_id="a2")
        await core.submit(*[make_submission() for _ in range(5)])
        assert (len(await _given(first)), len(await _given(second))) == (1, 4)


async def test_a_limit_that_is_set_for_a_key_counts_if_it_is_less_than_tasks_say() -> None:
    async with running_core() as core:
        await _set(core, "key:db", 1)
        agent = await _agent(core)
        ids = await core.submit(*[make_submission(limits=DB) for _ in range(3)])
        assert await _given(agent) == ids[:1]
        await _set(core, "key:db", 9)
        assert await _given(agent) == ids[:2]


async def test_the_settings_cap_what_is_running() -> None:
    async with running_core(options=Options(max_running=1)) as core:
        await _set(core, "running", 5)
        agent = await _agent(core)
        await core.submit(make_submission(), make_submission())
        assert len(await _given(agent)) == 1
        assert (await core.manager.scheduler_status()).max_concurrent_tasks == 1


async def test_what_is_set_counts_after_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        await _set(core, "pool:default", 1)
    async with running_core(database) as core:
        agent = await _agent(core)
        await core.submit(make_submission(), make_submission())
        assert len(await _given(agent)) == 1


# -- what does not wait -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"lock": "db"}, {"limits": {"db": 1}}, {"rates": {"db": Rate(1, 60_000)}}])
async def test_what_does_not_wait_is_skipped_while_there_is_no_place(asked: dict[str, object]) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        skips = make_submission(when_taken=WhenTaken.SKIP, payload=b'"kept"', **asked)  # type: ignore[arg-type]  # names
        first, second = [(await core.submit(skips))[0] for _ in range(2)]
        assert await _given(agent) == [first]
        record = await core.manager.get(second)
        assert (record.task.status, record.task.reason) == (TaskStatus.SKIPPED, Reason.LIMIT)
        assert record.payload == b'"kept"'


async def test_what_does_not_wait_is_judged_when_it_is_due() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        late, later = await core.submit(
            *[make_submission(when_taken=WhenTaken.SKIP, lock="db", delay_ms=ms) for ms in (5_000, 8_000)]
        )
        await asyncio.sleep(10)
        assert await _given(agent) == [late]
        assert await core.status(later) is TaskStatus.SKIPPED


async def test_what_has_room_is_not_skipped_for_want_of_an_agent() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(when_taken=WhenTaken.SKIP, lock="db"))
        assert await core.status(task_id) is TaskStatus.PENDING


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["running", "pool:default", "workspace:site", "key:db", "key:pool:default"])
def test_people_and_the_database_call_a_key_by_names_that_stand_for_each_other(name: str) -> None:
    assert name_of(key_of(name)) == name


# -- what the database knows better -----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"limits": {"db": 1}}, {"lock": "db"}, {}])
async def test_a_place_that_is_anothers_after_all_is_tried_again(asked: dict[str, object]) -> None:
    async with running_core() as core:
        key = "db" if asked else key_of("pool:default")
        if not asked:
            await _set(core, "pool:default", 1)
        core.database.disk.holds[Hold(key, 0)] = 0  # somebody has it of whom memory does not know
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(**asked))  # type: ignore[arg-type]  # names of fields
        await asyncio.sleep(3)
        assert not agent.tasks
        assert await core.status(task_id) is TaskStatus.PENDING

        del core.database.disk.holds[Hold(key, 0)]
        assert (await agent.task()).ref.task_id == task_id
        await agent.finish(agent.tasks[0].ref)
        assert core.database.disk.holds == {}


def _rated(task_id: str) -> Task:
    return evolve(make_task(task_id), spec=make_spec(rates={"mail": Rate(1, 1_000)}))


def test_what_outlives_the_time_of_its_rate_takes_no_place_from_another_and_is_looked_for_again() -> None:
    clock = ManualClock()
    control = ControlTime(clock)
    limits = Limits(control)
    assert limits.reserve(_rated("slow"), "a1")
    for _ in range(2):
        clock.advance(1)
        control.committed()
    assert limits.reserve(_rated("quick"), "a1")

    limits.reservation("slow")
    limits.give_back("slow")
    assert limits.blocking(_rated("third")) == Blocking(rate_key("mail"), control.now() + 1_000)

    limits.refused(_rated("slow"))
    assert limits.next_opening() == control.now() + DOUBT_MS
