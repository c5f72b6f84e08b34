"""The asynchronous client against a real server: plain values out, plain values back, our own errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest

from nodelink.client import AgentResource, Assignment, AsyncClient, LogPart, TaskFilter, new_task
from nodelink.client.failures import CLASSES
from nodelink.client.patience import Patience
from nodelink.errors import (
    AgentNotFound,
    ErrorCode,
    InvalidTask,
    LinkLost,
    StoreUnavailable,
    TaskAlreadyFinished,
    TaskNotFinished,
    TaskNotFound,
    TaskNotInDoubt,
)
from nodelink.task import Execution, Finished, LogStream, Outcome, Reason, TaskStatus
from nodelink_server.store.disk import Disk
from tests.support.doubts import put_in_doubt
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door

UNKNOWN_ID = "01900000-0000-7000-8000-ffffffffffff"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def client(door: GrpcDoor) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(str(door.address), timeout=WAIT_SECONDS) as client:
        yield client


async def test_what_was_asked_for_comes_back_as_it_was_asked(client: AsyncClient) -> None:
    at = datetime(2100, 1, 31, 9, 30, tzinfo=UTC)
    task = await client.submit(
        new_task("echo", {"a": 1}, pool="gpu", priority="HIGH", timeout="1h30m", at=at, metadata={"ticket": "7"})
    )
    found = await client.get(task.id)

    assert (found.status, found.reason) == (TaskStatus.SCHEDULED, "time")
    assert (found.spec.pool, found.spec.priority, found.spec.timeout_ms) == ("gpu", 75, 5_400_000)
    assert found.spec.scheduled_at == 4_105_071_000_000
    assert (found.spec.execution, found.payload) == (Execution.REPLAYABLE, b'{"a":1}')
    assert found.spec.metadata == {"ticket": "7"}


async def test_a_run_gives_the_result(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent() as agent:
        asked = asyncio.create_task(client.run("echo", {"a": 1}, wait=WAIT_SECONDS))
        agent.finish((await agent.take()).ref, output=b'{"a":1}')
        result = await asked

    assert result.succeeded
    assert result.value == {"a": 1}


async def test_a_run_that_takes_too_long_says_so(client: AsyncClient) -> None:
    with pytest.raises(TaskNotFinished, match=r"within 0\.1 s"):
        await client.run("echo", wait=0.1)


async def test_many_tasks_have_an_outcome_each(client: AsyncClient) -> None:
    outcomes = await client.submit_many([new_task("echo"), new_task("nosuch"), *[new_task("echo")] * 1_500])

    assert len(outcomes) == 1_502
    assert isinstance(outcomes[1].refusal, InvalidTask)
    assert outcomes[1].refusal.errors[0].field == "type"
    assert len({outcome.task_id for outcome in outcomes if not outcome.refusal}) == 1_501


async def test_a_list_goes_over_as_many_pages_as_it_takes(client: AsyncClient) -> None:
    await client.submit_many([new_task("echo", pool="other")] + [new_task("echo")] * 1_200)

    assert len(await client.list(limit=1_100)) == 1_100
    assert len(await client.list(TaskFilter(pool="other", statuses=frozenset({TaskStatus.PENDING})))) == 1


async def test_a_result_tells_how_a_task_ended(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent() as agent:
        task = await client.submit(new_task("shell", {"command": ["false"]}))
        ref = (await agent.take()).ref
        with pytest.raises(TaskNotFinished):
            await client.result(task.id)
        agent.finish(ref, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=3)
        ended = await client.wait(task.id, timeout=WAIT_SECONDS)
    result = await client.result(task.id)

    assert (ended.status, ended.reason) == (TaskStatus.FAILED, "exit_code")
    assert (result.exit_code, result.signal, result.attempt) == (3, None, 1)


async def test_a_wait_that_is_over_shows_the_task_as_it_stands(client: AsyncClient) -> None:
    task = await client.submit(new_task("echo"))

    assert (await client.wait(task.id, timeout=0)).status is TaskStatus.PENDING


async def test_a_task_that_waits_tells_how_the_tries_to_give_it_to_an_agent_stand(
    door: GrpcDoor, client: AsyncClient
) -> None:
    async with door.agent(slots=1) as agent:
        given, behind = await client.submit("echo", 1), await client.submit("echo", 2)
        await agent.take()
        told = await client.get(behind.id)
        assert (await client.get(given.id)).assignment is None

    assert told.assignment is not None
    assert told.assignment.tries >= 1
    next_at = told.created_at + 10_000 * told.assignment.tries
    assert told.assignment == Assignment(told.assignment.tries, next_at, "none_free")


async def test_output_can_be_followed_and_read_again(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent() as agent:
        task = await client.submit(new_task("shell", {"command": ["true"]}))
        ref = (await agent.take()).ref
        agent.write(ref, LogStream.STDOUT, b"out")
        async with asyncio.timeout(WAIT_SECONDS), aclosing(client.log_pages(task.id)) as pages:
            first = await anext(pages)
            agent.write(ref, LogStream.STDERR, b"err")
            agent.finish(ref)
            rest = [part async for page in pages for part in page.parts]
    again = [part async for part in client.logs(task.id, offset=1, limit=4)]

    assert list(first.parts) == [LogPart(LogStream.STDOUT, 0, b"out")]
    assert rest == [LogPart(LogStream.STDERR, 3, b"err")]
    assert again == [LogPart(LogStream.STDOUT, 1, b"ut"), LogPart(LogStream.STDERR, 3, b"er")]


async def test_a_task_is_cancelled_once(client: AsyncClient) -> None:
    task = await client.submit(new_task("echo"))

    assert (await client.cancel(task.id, grace="1s")).status is TaskStatus.CANCELLED
    with pytest.raises(TaskAlreadyFinished):
        await client.cancel(task.id)


async def test_agents_are_shown(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent(slots=3):
        (agent,) = await client.agents(status="online")
        assert (await client.agent(agent.id)).name == agent.name

    assert (agent.pool, agent.slots, agent.used_slots, agent.free_slots) == ("default", 3, 0, 3)
    assert (agent.resources, agent.type_limits) == ({}, {})
    assert not await client.agents(status="online")


async def test_agents_are_shown_with_what_they_have_and_what_of_it_is_taken(
    door: GrpcDoor, client: AsyncClient
) -> None:
    has = {"memory": 1024**3 * 1000, "gpu": 1_000, "cpu": 4_000}
    async with door.agent(resources=has, type_limits={"shell": 2, "echo": 9}) as manual:
        await client.submit(new_task("echo", slots=3, resources={"cpu": 1.5, "memory": "512MiB"}))
        await manual.take()
        agent = await client.agent("a1")

    assert (agent.slots, agent.used_slots, agent.free_slots) == (4, 3, 1)
    assert list(agent.resources.items()) == [
        ("cpu", AgentResource(total=4, used=1.5)),
        ("gpu", AgentResource(total=1, used=0)),
        ("memory", AgentResource(total=1024**3, used=512 * 1024**2)),
    ]
    assert list(agent.type_limits.items()) == [("echo", 9), ("shell", 2)]


async def test_what_does_not_exist_is_told_apart(client: AsyncClient) -> None:
    with pytest.raises(TaskNotFound):
        await client.get(UNKNOWN_ID)
    with pytest.raises(AgentNotFound):
        await client.agent("nobody")


async def test_a_refusal_carries_its_fields_and_the_time_to_come_again(door: GrpcDoor, client: AsyncClient) -> None:
    with pytest.raises(InvalidTask) as refused:
        await client.submit(new_task("nosuch"))
    task = await client.submit("echo")
    door.switch.error = StoreUnavailable(retry_after=2.5)
    with pytest.raises(StoreUnavailable) as away:
        await client.cancel(task.id)
    door.switch.error = None

    assert [error.field for error in refused.value.errors] == ["type"]
    assert away.value.retry_after == 2.5


async def test_a_server_that_is_not_there_is_named() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(LinkLost, match=r"cannot reach the server at 127\.0\.0\.1:1"):
            await client.get(UNKNOWN_ID)


async def test_whoever_follows_outlives_a_restart_of_the_server() -> None:
    disk = Disk()
    async with grpc_door(disk=disk) as door:
        address = door.address
        client = AsyncClient(str(address), timeout=WAIT_SECONDS)
        watched = client.watch()
        task = await client.submit(new_task("echo"))
        waiting = asyncio.create_task(client.wait(task.id))
        heard: list[Any] = []
        listening = asyncio.create_task(_until(watched, "task.cancelled", heard))
        await _listener(door)
    async with client, grpc_door(disk=disk, address=address):
        async with asyncio.timeout(3 * WAIT_SECONDS):
            await _cancel(client, task.id)
            ended = await waiting
            await listening

    assert ended.status is TaskStatus.CANCELLED
    assert [event.name for event in heard].count("task.cancelled") == 1


async def test_output_that_is_followed_over_a_restart_comes_once() -> None:
    disk = Disk()
    async with grpc_door(disk=disk) as door, door.agent() as agent:
        address = door.address
        client = AsyncClient(str(address), timeout=WAIT_SECONDS)
        task = await client.submit(new_task("shell", {"command": ["true"]}))
        ref = (await agent.take()).ref
        agent.write(ref, LogStream.STDOUT, b"before ")
        pages = client.log_pages(task.id)
        first = await anext(pages)
    async with client, grpc_door(disk=disk, address=address) as door, door.agent(session=2, running=[ref]) as agent:
        agent.write(ref, LogStream.STDOUT, b"before after")
        agent.say(ref, Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 12}))
        async with asyncio.timeout(3 * WAIT_SECONDS):
            rest = [part.data async for page in pages for part in page.parts]

    assert b"".join([*(part.data for part in first.parts), *rest]) == b"before after"


def test_patience_ends_and_begins_anew_when_the_server_is_heard() -> None:
    now = [0.0]
    patience = Patience(10, monotonic=lambda: now[0], random=lambda: 1.0)
    lost = LinkLost()

    assert [patience.delay_after(lost), patience.delay_after(lost)] == [0.2, 0.4]
    now[0] = 9.0
    patience.heard()
    assert patience.delay_after(lost) == 0.2
    now[0] = 19.0
    with pytest.raises(LinkLost):
        patience.delay_after(lost)


def test_only_a_server_that_is_away_is_waited_for() -> None:
    with pytest.raises(TaskNotFound):
        Patience(10, monotonic=lambda: 0.0, random=lambda: 1.0).delay_after(TaskNotFound())


@pytest.mark.parametrize(
    "wrong, field",
    [
        ({"timeout": "soon"}, "timeout"),
        ({"delay": "1x"}, "delay"),
        ({"priority": 0}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": "URGENT"}, "priority"),
        ({"priority": "٣"}, "priority"),
        ({"execution": "twice"}, "execution"),
        ({"at": datetime(2100, 1, 1)}, "at"),  # noqa: DTZ001 - the point of it
        ({"payload": {1, 2}}, "payload"),
        ({"payload": float("nan")}, "payload"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_is_sent(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        new_task("echo", **wrong)

    assert refused.value.errors[0].field == field


def test_every_code_has_a_class_of_its_own_code() -> None:
    assert {code: cls.code for code, cls in CLASSES.items()} == {code: code for code in ErrorCode}


async def _listener(door: GrpcDoor) -> None:
    """Return when somebody watches."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not door.manager.events.listeners:  # noqa: ASYNC110 - a listener tells nobody that it came
            await asyncio.sleep(0)


async def _until(events: Any, name: str, heard: list[Any]) -> None:
    async with aclosing(events):
        async for event in events:
            heard.append(event)
            if event.name == name:
                return


async def _cancel(client: AsyncClient, task_id: str) -> None:
    """Cancel a task as soon as the server is there."""
    while True:
        try:
            await client.cancel(task_id)
            return
        except LinkLost:
            await asyncio.sleep(0.01)


async def test_a_finished_task_is_run_again_as_a_new_one_and_once_a_key(client: AsyncClient) -> None:
    first = await client.submit("echo", 1)
    with pytest.raises(TaskNotFinished):
        await client.retry(first.id)
    await first.cancel()
    again = await client.retry(first.id, idempotency_key="k")

    assert (again.retry_of, again.payload) == (first.id, b"1")
    assert (await client.retry(first.id, idempotency_key="k")).id == again.id
    assert (await client.retry(first.id)).id != again.id


async def test_a_person_decides_about_a_task_in_doubt(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent() as agent:
        submit = {"execution": "exclusive", "lock": "deploy"}
        one, two = [await client.submit("shell", {"command": "x"}, **submit) for _ in range(2)]  # type: ignore[arg-type]
        await put_in_doubt(door, agent, one.id)
        doubted = await client.get(one.id)
        resolved = await client.resolve(one.id, as_="completed", reason="I looked")
        await put_in_doubt(door, agent, two.id)
        again = await two.resolve(as_="rerun", reason="it was off")
        given_up = await two.abandon(reason="enough")
        with pytest.raises(TaskAlreadyFinished):
            await client.abandon(two.id, reason="enough")

    assert (doubted.status, doubted.spec.lock, doubted.may_have_run) == (TaskStatus.UNKNOWN, "deploy", True)
    assert [(remark.kind, remark.by) for remark in resolved.remarks] == [("unknown", ""), ("resolved", "local")]
    assert (resolved.status, resolved.reason) == (TaskStatus.COMPLETED, "resolved")
    assert (again.status.value in {"pending", "sent"}, given_up.reason) == (True, "abandoned")


async def test_what_is_not_in_doubt_cannot_be_resolved(client: AsyncClient) -> None:
    task = await client.submit("echo")
    with pytest.raises(TaskNotInDoubt, match="the task is pending"):
        await task.resolve(as_="failed", reason="x")
    with pytest.raises(InvalidTask, match="reason: is needed"):
        await task.abandon(reason="")
    with pytest.raises(AgentNotFound):
        await client.undrain_agent("nobody")


async def test_a_cordoned_agent_is_let_have_work_again(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent():
        door.manager.agents.cordon("a1", "5 starts failed")
        [cordoned] = await client.agents(status="cordoned")
        free = await client.undrain_agent("a1")

    assert (cordoned.cordon_reason, free.status, free.cordon_reason) == ("5 starts failed", "online", "")


async def test_tasks_are_found_by_their_labels_and_by_words(client: AsyncClient) -> None:
    green = await client.submit("echo", metadata={"team": "green"})
    await client.submit("echo", metadata={"team": "red"})

    assert [task.id for task in await client.list(TaskFilter(labels={"team": "green"}))] == [green.id]
    assert [task.id async for task in client.iterate(TaskFilter(q="team=green"))] == [green.id]


async def test_what_ended_long_ago_is_removed(client: AsyncClient) -> None:
    task = await client.submit("echo")
    await task.cancel()

    assert await client.clean_up("1h") == 0
    assert (await task.get()).is_terminal


async def test_figures_and_sessions_are_told(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent(slots=3):
        await client.submit("echo", pool="nobody", priority="HIGH")
        (agent,) = await client.agents()
        status = await client.scheduler_status()
        sessions = [session async for session in client.agent_sessions(agent.id)]

    assert (status.state, status.queued_tasks, status.available_slots) == ("running", 1, 3)
    assert status.queue_by_priority["HIGH"] == 1
    assert [(session.number, session.disconnected_at) for session in sessions] == [(1, None)]
    assert (await client.stats(by="pool")).now.live["pending"] == 1


async def test_the_end_of_the_output_can_be_read_alone(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent() as agent:
        task = await client.submit("shell", {"command": ["true"]})
        ref = (await agent.take()).ref
        agent.write(ref, LogStream.STDOUT, b"one\ntwo\n")
        agent.finish(ref)
        await task.wait()
        tail = [part.data async for part in client.logs(task.id, tail=4)]
        lines = [line async for line in task.stream_lines()]

    assert (tail, lines) == ([b"two\n"], ["one", "two"])
