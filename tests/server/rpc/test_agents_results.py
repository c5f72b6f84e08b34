"""What agents say about tasks: made durable first, acknowledged then, and judged by attempt, fence and holder."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodelink import wire
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    Declined,
    ErrorCategory,
    Finished,
    HeldState,
    LogStream,
    Outcome,
    Progress,
    Reason,
    Started,
    TaskError,
    TaskResponse,
    TaskStatus,
)
from nodelink.v1 import agent_pb2
from nodelink_server.core.ports import EventName
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.store.sql import open_store
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.gate import Gate
from tests.support.wire_agent import WireAgent, held, response_frame

LAST = (1 << 64) - 1


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def given(door: AgentDoor, agent: WireAgent, type: str = "echo", **spec: Any) -> AttemptRef:
    """The attempt of a new task that this agent has received."""
    task_id = await door.submit(type, **spec)
    ref = (await agent.take()).ref
    assert ref.task_id == task_id
    return ref


async def cancel_under_way(door: AgentDoor, ref: AttemptRef, apply: Gate, read: Gate) -> asyncio.Task[object]:
    """A stop whose commit stands before a closed gate."""
    with read.opened():
        cancel = asyncio.create_task(door.manager.cancel(ref.task_id))
        await apply.reached()
    return cancel


async def test_a_task_goes_to_an_agent_as_it_was_asked_for(door: AgentDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit(payload=b'{"a": 1}', timeout_ms=90_000, metadata={"k": "v"})
        request = await agent.take()
    assert (request.ref.task_id, request.ref.attempt) == (task_id, 1)
    assert request.payload == b'{"a": 1}'
    assert (request.spec.type, request.spec.timeout_ms, request.spec.metadata) == ("echo", 90_000, {"k": "v"})


async def test_a_large_payload_arrives_whole(door: AgentDoor) -> None:
    payload = b'"' + b"x" * (256 * 1024 - 2) + b'"'
    await door.submit(payload=payload)
    async with door.agent() as agent:
        assert (await agent.take()).payload == payload


async def test_a_task_that_waits_is_given_to_the_agent_that_comes(door: AgentDoor) -> None:
    task_ids = await door.submit_many(3)
    async with door.agent() as agent:
        assert [request.ref.task_id for request in await agent.take_many(3)] == task_ids
        assert [await door.status(task_id) for task_id in task_ids] == [TaskStatus.SENT] * 3


async def test_one_frame_carries_several_tasks(door: AgentDoor) -> None:
    await door.submit_many(100)
    async with door.agent(slots=100) as agent:
        await agent.take_many(100)
        assert max(len(frame.tasks) for frame in agent.frames) > 1


async def test_a_result_is_durable_when_it_is_acknowledged(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.start(ref)
        await agent.finish(ref, output=b'{"ok": true}', exit_code=0, run_seconds=1.5, log_totals={LogStream.STDOUT: 3})
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
        record = await door.stored(ref.task_id)
    assert record.task.status is TaskStatus.COMPLETED
    assert record.finished is not None
    assert (record.finished.output, record.finished.exit_code) == (b'{"ok": true}', 0)
    assert (record.finished.run_seconds, record.log_totals) == (1.5, {LogStream.STDOUT: 3})


async def test_a_result_is_not_acknowledged_before_it_is_durable() -> None:
    gate = Gate("apply")
    async with agent_door(store=MemoryStore(Disk(), pause=gate.pass_through)) as door, door.agent() as agent:
        ref = await given(door, agent)
        with gate.closed():
            await agent.finish(ref)
            await gate.reached()
            await agent.beat(1)
            await agent.beat_acked()
            assert not any(frame.result_acks for frame in agent.frames)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED


async def test_a_result_that_came_twice_is_not_acknowledged_before_it_is_durable() -> None:
    apply, read = Gate("apply"), Gate("read")

    async def pause(kind: str) -> None:
        await apply.pass_through(kind)
        await read.pass_through(kind)

    async with agent_door(store=MemoryStore(Disk(), pause=pause)) as door, door.agent() as agent:
        ref = await given(door, agent)
        with read.closed():
            with apply.closed():
                cancel = await cancel_under_way(door, ref, apply, read)
                await agent.say(ref, Finished(outcome=Outcome.COMPLETED), Finished(outcome=Outcome.COMPLETED))
                await agent.beat(1)
                await agent.beat_acked()
            await agent.told_to_stop()  # the stop was committed first, so the result is refused and looked at again
            await agent.beat(2)
            await agent.beat_acked()
            assert not any(frame.result_acks for frame in agent.frames)
        for _ in range(2):
            assert await agent.disposition(ref) is AckDisposition.COMMITTED
        await cancel


async def test_a_failure_is_kept_with_its_reason(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent, "shell")
        error = TaskError(ErrorCategory.EXIT_CODE, "exit code 3")
        await agent.finish(ref, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=3, error=error)
        await agent.acked()
        task = (await door.stored(ref.task_id)).task
    assert (task.status, task.reason, task.message) == (TaskStatus.FAILED, Reason.EXIT_CODE, "exit code 3")


async def test_one_frame_carries_several_results(door: AgentDoor) -> None:
    await door.submit_many(3)
    async with door.agent() as agent:
        refs = [request.ref for request in await agent.take_many(3)]
        await agent.respond(*(TaskResponse(ref, Finished(outcome=Outcome.COMPLETED)) for ref in refs))
        acks = [await agent.acked() for _ in refs]
    assert {ack.ref for ack in acks} == set(refs)
    assert {ack.disposition for ack in acks} == {AckDisposition.COMMITTED}


async def test_started_and_finished_may_share_a_frame(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.say(ref, Started(containment="cgroup"), Finished(outcome=Outcome.COMPLETED))
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
        names = [event.name for event in await door.store.history(ref.task_id)]
    assert names[-3:] == ["task.sent", "task.started", "task.completed"]


async def test_a_start_is_recorded_once(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.start(ref)
        await door.events.next(EventName.TASK_STARTED, task_id=ref.task_id)
        await agent.start(ref)
        await agent.finish(ref)
        await agent.acked()
        assert not door.events.has(EventName.TASK_STARTED, task_id=ref.task_id)


async def test_progress_is_shown_and_told_but_not_acknowledged(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.say(ref, Started(), Progress(fraction=0.5, message="half"))
        event = await door.events.next(EventName.TASK_PROGRESS, task_id=ref.task_id)
        assert event.data == {"fraction": 0.5, "message": "half"}
        progress = door.manager.progress(ref.task_id)
        assert progress == Progress(fraction=0.5, message="half")
        await agent.finish(ref)
        await agent.acked()
        assert sum(len(frame.result_acks) for frame in agent.frames) == 1


async def test_a_declined_task_waits_again_and_goes_to_another_agent(door: AgentDoor) -> None:
    async with door.agent(agent_id="a1") as first:
        ref = await given(door, first)
        await first.decline(ref)
        assert await first.disposition(ref) is AckDisposition.COMMITTED
        async with door.agent(agent_id="a2") as second:
            again = (await second.take()).ref
            assert (again.task_id, again.attempt) == (ref.task_id, 2)
            assert again.fence > ref.fence


async def test_a_task_that_has_started_cannot_be_declined(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.say(ref, Started(), Declined())
        assert await agent.disposition(ref) is AckDisposition.STALE
        assert await door.status(ref.task_id) == TaskStatus.IN_PROGRESS


async def test_a_result_that_comes_again_is_a_duplicate_and_changes_nothing(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.finish(ref, output=b"1")
        await agent.acked()
        await agent.finish(ref, outcome=Outcome.FAILED, output=b"2")
        assert await agent.disposition(ref) is AckDisposition.DUPLICATE
        record = await door.stored(ref.task_id)
    assert record.task.status is TaskStatus.COMPLETED
    assert record.finished is not None
    assert record.finished.output == b"1"
    assert door.manager.tally.responses["duplicate"] == 1


async def test_a_result_for_an_unknown_task_is_stale_counted_and_told_of(
    door: AgentDoor, caplog: pytest.LogCaptureFixture
) -> None:
    async with door.agent() as agent:
        ref = AttemptRef("01900000-0000-7000-8000-00000000ffff", 1, 1)
        await agent.finish(ref)
        assert await agent.disposition(ref) is AckDisposition.STALE
    assert door.manager.tally.responses["stale"] == 1
    assert "response_for_unknown_task" in caplog.text


@pytest.mark.parametrize("change", [{"attempt": 2}, {"attempt": 0}, {"fence": 1}, {"fence": LAST}])
async def test_a_result_of_another_attempt_is_stale_and_changes_nothing(
    door: AgentDoor, change: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        other = ref._replace(**change)  # type: ignore[arg-type]
        await agent.finish(other)
        assert await agent.disposition(other) is AckDisposition.STALE
        assert await door.status(ref.task_id) == TaskStatus.SENT
        await agent.finish(ref)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
    assert "response_stale" in caplog.text


async def test_a_result_of_an_agent_that_does_not_hold_the_task_is_stale(door: AgentDoor) -> None:
    async with door.agent(agent_id="a1") as holder, door.agent(agent_id="a2", credit=0) as stranger:
        ref = await given(door, holder)
        await stranger.finish(ref, output=b"2")
        assert await stranger.disposition(ref) is AckDisposition.STALE
        assert await door.status(ref.task_id) == TaskStatus.SENT


async def test_a_start_and_a_progress_of_a_stranger_change_nothing(door: AgentDoor) -> None:
    async with door.agent(agent_id="a1") as holder, door.agent(agent_id="a2", credit=0) as stranger:
        ref = await given(door, holder)
        await stranger.say(ref, Started(), Progress(fraction=0.9), Finished(outcome=Outcome.COMPLETED))
        assert await stranger.disposition(ref) is AckDisposition.STALE
        assert await door.status(ref.task_id) == TaskStatus.SENT
        assert door.manager.progress(ref.task_id) is None


async def test_an_unreadable_response_is_refused_and_the_stream_goes_on(
    door: AgentDoor, caplog: pytest.LogCaptureFixture
) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        empty, unknown = agent_pb2.TaskResponse(), agent_pb2.TaskResponse()
        for response in (empty, unknown):
            wire.put_ref(response.ref, ref)
        unknown.finished.outcome = 99  # type: ignore[assignment]
        for response in (empty, unknown):
            await agent.send(responses=[response])
            assert await agent.disposition(ref) is AckDisposition.REFUSED
        assert await door.status(ref.task_id) == TaskStatus.SENT
        await agent.finish(ref)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
    assert door.manager.tally.responses["refused"] == 2
    assert "response_unreadable" in caplog.text


async def test_an_unreadable_response_does_not_spoil_its_frame(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        frame = response_frame(TaskResponse(ref, Finished(outcome=Outcome.COMPLETED)))
        wire.put_ref(frame.responses.add().ref, ref)
        await agent.send(frame)
        assert {(await agent.acked()).disposition for _ in range(2)} == {
            AckDisposition.COMMITTED,
            AckDisposition.REFUSED,
        }


async def test_a_result_is_taken_in_any_later_session(door: AgentDoor) -> None:
    async with door.agent(session=1) as agent:
        ref = await given(door, agent)
    async with door.agent(session=2, held=held(ref, state=HeldState.ENDED)) as agent:
        await agent.finish(ref)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED


@pytest.mark.parametrize(
    "how",
    [
        {"run_seconds": math.nan},
        {"run_seconds": math.inf},
        {"run_seconds": -1.0},
        {"cpu_seconds": math.nan},
        {"cpu_seconds": -math.inf},
        {"max_rss_bytes": LAST},
        {"log_totals": {LogStream.STDOUT: LAST}},
        {"output": b"\xff not JSON"},
    ],
    ids=str,
)
async def test_a_result_with_impossible_numbers_is_kept_all_the_same(tmp_path: Path, how: dict[str, Any]) -> None:
    async with (
        open_store(f"sqlite:///{tmp_path / 'tasks.db'}", ids=lambda: "cluster") as store,
        agent_door(store=store) as door,
        door.agent() as agent,
    ):
        ref = await given(door, agent)
        await agent.finish(ref, **how)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
        record = await door.stored(ref.task_id)
        assert record.task.status is TaskStatus.COMPLETED
        assert record.finished is not None
        assert math.isfinite(record.finished.run_seconds)


async def test_a_start_long_before_all_time_is_kept_all_the_same(tmp_path: Path) -> None:
    async with (
        open_store(f"sqlite:///{tmp_path / 'tasks.db'}", ids=lambda: "cluster") as store,
        agent_door(store=store) as door,
        door.agent() as agent,
    ):
        ref = await given(door, agent)
        response = agent_pb2.TaskResponse()
        wire.put_ref(response.ref, ref)
        response.started.ago.seconds = (1 << 63) - 1
        await agent.send(responses=[response])
        await door.events.next(EventName.TASK_STARTED, task_id=ref.task_id)
        assert await door.status(ref.task_id) == TaskStatus.IN_PROGRESS


@pytest.mark.parametrize("said, shown", [(math.nan, 0.0), (math.inf, 1.0), (-3.0, 0.0), (7.0, 1.0)])
async def test_a_progress_is_always_between_nothing_and_all(door: AgentDoor, said: float, shown: float) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.say(ref, Progress(fraction=said))
        event = await door.events.next(EventName.TASK_PROGRESS, task_id=ref.task_id)
    assert event.data == {"fraction": shown, "message": ""}
