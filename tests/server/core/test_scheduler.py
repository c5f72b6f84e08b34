"""Who runs what next, and that nobody sleeps while a task waits for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nodelink.task import TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.fairness import Fairness
from nodelink_server.core.limits import Limits
from nodelink_server.core.needs import place_of
from nodelink_server.core.ports import Shape
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task, granted
from tests.support.clock import LoopClock, ManualClock
from tests.support.core_parts import (
    COMPLETED,
    Database,
    make_session,
    make_spec,
    make_submission,
    make_task,
    running_core,
)
from tests.support.fake_agent import FakeAgent

ECHO = Shape("default", "echo")
SHELL = Shape("default", "shell")


class Queue:
    """A scheduler with its registry, over an empty database."""

    def __init__(self, *, window: int = 1_000) -> None:
        self.registry = TaskRegistry()
        self.database = Database()
        control = ControlTime(LoopClock())
        self.limits = Limits(control)
        self.scheduler = Scheduler(
            store=self.database.store(),
            registry=self.registry,
            clock=LoopClock(),
            window=window,
            limits=self.limits,
            fairness=Fairness(control),
        )

    def admit(self, *tasks: Task) -> None:
        """Queue committed tasks, as their commit does."""
        for task in tasks:
            kept, pushed_out = self.scheduler.admit(task)
            self.registry.swap(put=[task] if kept else (), drop=pushed_out)

    def session(self, agent_id: str = "a1", *, slots: int = 1, types: tuple[str, ...] = ("echo",)) -> AgentSession:
        return make_session(agent_id, slots=slots, types=types, on_room=self.scheduler.has_room)

    @asynccontextmanager
    async def waiting(self, *sessions: AgentSession) -> AsyncIterator[list[asyncio.Task[list[str]]]]:
        """Sessions that have found nothing and sleep, in this order."""
        waits = []
        for session in sessions:
            waits.append(asyncio.ensure_future(self.lease(session)))
            await asyncio.sleep(1)
        try:
            yield waits
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def lease(self, session: AgentSession) -> list[str]:
        return [task.id for task in await self.scheduler.lease(session)]


@pytest.fixture
async def queue() -> Queue:
    return Queue()


async def test_the_smallest_rank_goes_first_and_ties_go_by_age(queue: Queue) -> None:
    queue.admit(make_task("c", rank=2), make_task("a", rank=1), make_task("d", rank=2), make_task("b", rank=1))

    assert await queue.lease(queue.session(slots=10)) == ["a", "b", "c", "d"]


async def test_a_critical_task_goes_before_everything_however_long_others_have_waited() -> None:
    clock = ManualClock()
    control = ControlTime(clock)
    ranking = Ranking(control, Fairness(control))
    old = ranking.of(make_spec(priority=99)).rank
    for _ in range(100_000):
        clock.advance(3)
        control.committed()
    critical = ranking.of(make_spec(priority=100)).rank
    high = ranking.of(make_spec(priority=99)).rank

    assert critical < old < high


def test_a_point_of_priority_is_worth_a_minute_of_waiting() -> None:
    clock = ManualClock()
    control = ControlTime(clock)
    ranking = Ranking(control, Fairness(control))
    earlier = ranking.of(make_spec(priority=50)).rank
    for _ in range(59):
        clock.advance(1)
        control.committed()
    soon = ranking.of(make_spec(priority=51)).rank
    for _ in range(2):
        clock.advance(1)
        control.committed()
    late, deadline, _ = ranking.of(make_spec(priority=51, queue_timeout_ms=500))

    assert soon < earlier < late
    assert deadline == control.now() + 500


async def test_a_session_is_given_as_many_tasks_as_it_has_room_for(queue: Queue) -> None:
    session = queue.session(slots=2)
    queue.admit(*[make_task(f"t{n}", rank=n) for n in range(3)])

    assert await queue.lease(session) == ["t0", "t1"]
    assert session.room == 0


async def test_only_types_that_a_session_handles_are_given_to_it(queue: Queue) -> None:
    queue.admit(make_task("t1", type="shell"), make_task("t2", type="echo"))

    assert await queue.lease(queue.session(slots=5)) == ["t2"]


async def test_one_order_holds_over_all_types_of_a_session(queue: Queue) -> None:
    queue.admit(make_task("t2", type="shell", rank=2), make_task("t1", rank=1), make_task("t3", rank=3))

    assert await queue.lease(queue.session(slots=5, types=("echo", "shell"))) == ["t1", "t2", "t3"]


async def test_a_task_wakes_the_least_loaded_session(queue: Queue) -> None:
    busy, idle = queue.session("busy", slots=4), queue.session("idle", slots=4)
    for task in (make_task("b1"), make_task("b2")):
        busy.reserve(task)
    async with queue.waiting(busy, idle) as (busy_wait, idle_wait):
        queue.admit(make_task())
        assert await idle_wait == ["t1"]
        assert not busy_wait.done()


async def test_of_two_that_are_equally_loaded_the_longest_idle_is_woken(queue: Queue) -> None:
    async with queue.waiting(queue.session("first"), queue.session("second")) as (first, second):
        queue.admit(make_task())
        assert await first == ["t1"]
        assert not second.done()


async def test_a_session_that_sleeps_without_room_is_woken_when_it_has_some(queue: Queue) -> None:
    session = queue.session()
    before = make_task("before")
    session.reserve(before)
    async with queue.waiting(session) as (wait,):
        queue.admit(make_task())
        await asyncio.sleep(1)
        assert not wait.done()

        session.release([before])
        assert await wait == ["t1"]


async def test_a_sleeper_that_is_cancelled_as_it_is_woken_passes_the_task_on(queue: Queue) -> None:
    async with queue.waiting(queue.session("first"), queue.session("second")) as (first, second):
        queue.admit(make_task())
        first.cancel()
        assert await second == ["t1"]


async def test_what_a_session_leaves_wakes_the_next_one(queue: Queue) -> None:
    async with queue.waiting(queue.session("first"), queue.session("second")) as (first, second):
        queue.admit(make_task("t1"), make_task("t2"))
        assert {*await first, *await second} == {"t1", "t2"}


async def test_a_submitted_task_is_given_a_slot_only_if_nobody_waits_before_it(queue: Queue) -> None:
    session = queue.session(slots=2)
    async with queue.waiting(session):
        assert queue.scheduler.choose(make_task(), ECHO) is session
        assert session.room == 1

        queue.scheduler.arriving(ECHO, 1)
        assert queue.scheduler.choose(make_task(), ECHO) is None
        queue.scheduler.arriving(ECHO, -1)

        assert queue.scheduler.choose(make_task(), ECHO) is session
        assert queue.scheduler.choose(make_task(), ECHO) is None


async def test_a_waiting_task_is_not_overtaken_by_a_submission(queue: Queue) -> None:
    async with queue.waiting(queue.session(types=("shell",))):
        queue.admit(make_task(type="echo"))
        assert queue.scheduler.choose(make_task(), ECHO) is None
        assert queue.scheduler.choose(make_task(type="shell"), SHELL) is not None


async def test_a_scheduler_that_is_paused_gives_nothing_until_it_resumes(queue: Queue) -> None:
    queue.scheduler.paused = True
    queue.admit(make_task())
    async with queue.waiting(queue.session()) as (wait,):
        assert not wait.done()
        assert queue.scheduler.choose(make_task(), ECHO) is None

        queue.scheduler.resume()
        assert await wait == ["t1"]


async def test_a_task_that_is_no_longer_pending_is_passed_over(queue: Queue) -> None:
    first, second = make_task("t1"), make_task("t2")
    queue.admit(first, second)
    queue.registry.swap(put=[make_task("t1", status=TaskStatus.CANCELLED, revision=2)])

    assert await queue.lease(queue.session(slots=5)) == ["t2"]


async def test_a_task_that_is_given_back_keeps_its_place(queue: Queue) -> None:
    queue.admit(make_task("t1", rank=1), make_task("t2", rank=2))
    session = queue.session()
    assert await queue.lease(session) == ["t1"]

    returned = queue.registry.get("t1")
    assert returned is not None
    queue.scheduler.granted("t1")
    queue.admit(returned)
    session.release([returned])

    assert await queue.lease(session) == ["t1"]


async def test_queues_in_which_nothing_waits_are_forgotten(queue: Queue) -> None:
    queue.admit(make_task("t1", type="echo"), make_task("t2", type="shell"))
    await queue.lease(queue.session(slots=1))

    queue.scheduler.tidy()

    assert list(queue.scheduler._fronts) == [Shape("default", "shell")]
    assert queue.scheduler.waiting_front() == 1


async def test_pushing_a_task_out_of_memory_never_hides_one_that_has_moved_on() -> None:
    queue = Queue(window=1)
    running = make_task("t1", rank=5)
    queue.admit(running)
    moved = granted(running, agent_id="a1", session=1, fence=1, now=0)
    object.__setattr__(moved, "revision", 2)
    queue.registry.swap(put=[moved])

    queue.admit(make_task("t2", rank=1), make_task("t3", rank=2))

    assert queue.registry.get("t1") is moved


async def test_a_backlog_of_thousands_comes_out_in_order_through_a_window_of_ten() -> None:
    async with running_core(options=Options(window=10)) as core:
        chance = random.Random(7)
        for _ in range(20):
            await core.submit(*[make_submission(priority=chance.randrange(1, 100)) for _ in range(100)])
        assert len(core.manager.registry) <= 30

        agent = FakeAgent(core, slots=1)
        await agent.connect()
        order = []
        for place in range(2_000):
            request = await agent.task(place)
            order.append(place_of(core.database.disk.rows[core.database.disk.keys[request.ref.task_id]].task))
            agent.say(request.ref, COMPLETED)
            agent.session.credit_given(place + 2)

        assert order == sorted(order)
        assert core.manager.scheduler.waiting_front() == 0
        await agent.hang_up()


@pytest.mark.parametrize("seed", range(40))
async def test_no_wake_up_is_ever_lost(seed: int) -> None:
    """While a task waits, no session that fits it sleeps with room: whatever comes, goes, sleeps and is cancelled."""
    chance, queue = random.Random(seed), Queue()
    taken: list[str] = []
    count = 60

    async def work(session: AgentSession) -> None:
        while True:
            tasks = await queue.scheduler.lease(session)
            for task in tasks:
                taken.append(task.id)
                queue.registry.swap(put=(), drop=[task.id])
                queue.scheduler.granted(task.id)
            await asyncio.sleep(chance.choice((0, 0, 0.1)))
            session.release(tasks)

    sessions = [queue.session(f"a{n}", slots=chance.randrange(1, 4)) for n in range(4)]
    loops = [asyncio.ensure_future(work(session)) for session in sessions]
    for number in range(count):
        queue.admit(make_task(f"t{number}", rank=chance.randrange(5)))
        await asyncio.sleep(chance.choice((0, 0, 0.05)))
        if chance.random() < 0.2:
            place = chance.randrange(1, 4)  # the first one stays, so that everything can be done
            loops[place].cancel()
            await asyncio.gather(loops[place], return_exceptions=True)
            loops[place] = asyncio.ensure_future(work(queue.session(f"b{number}")))
    await asyncio.sleep(10)
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)

    assert sorted(taken) == sorted(f"t{number}" for number in range(count))
