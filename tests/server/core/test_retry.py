"""Running a finished task again: as a new task, for what has ended never changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodelink.errors import IdempotencyConflict, InvalidTask, StoreUnavailable, TaskNotFinished, TaskNotFound
from nodelink.task import TERMINAL, TaskStatus
from nodelink_server.store.disk import Row
from nodelink_server.store.history import Steps
from tests.support.clock import EPOCH_MS
from tests.support.core_parts import Core, make_submission, make_task, running_core

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def ended(core: Core, **spec: object) -> str:
    """A task that has ended."""
    [task_id] = await core.submit(make_submission(payload=b'{"a": 1}', **spec))  # type: ignore[arg-type]  # names of fields
    await core.manager.cancel(task_id)
    return task_id


@pytest.mark.parametrize("status", TaskStatus)
async def test_a_task_can_be_retried_once_it_has_ended_and_not_before(status: TaskStatus) -> None:
    async with running_core() as core:
        task = replace(make_task("t1", status=status), key=70)
        core.database.disk.rows[70] = Row(task, b"{}", Steps(), EPOCH_MS)
        core.database.disk.keys["t1"] = 70

        if status in TERMINAL:
            accepted = await core.manager.retry("t1")
            assert (accepted.task.retry_of, accepted.task.status) == ("t1", TaskStatus.PENDING)
        else:
            with pytest.raises(TaskNotFinished, match=status):
                await core.manager.retry("t1")
        assert core.database.disk.rows[70].task == task


async def test_the_new_task_asks_for_the_same_and_is_due_at_once() -> None:
    async with running_core() as core:
        old = await ended(core, delay_ms=5_000, priority=80, timeout_ms=9, metadata={"k": "v"}, pool="gpu")

        accepted = await core.manager.retry(old, traceparent=TRACE, caller="somebody")
        record = await core.manager.get(accepted.task.id)

        assert record.task.id != old
        assert (record.task.retry_of, record.task.traceparent) == (old, TRACE)
        assert (record.task.caller, record.payload) == ("somebody", b'{"a": 1}')
        assert record.task.status is TaskStatus.PENDING
        first = (await core.manager.get(old)).task
        assert record.task.spec == replace(first.spec, delay_ms=None)
        assert first.status is TaskStatus.CANCELLED


async def test_a_key_makes_one_new_task_of_many_tries() -> None:
    async with running_core() as core:
        old, other = await ended(core), await ended(core)
        first = await core.manager.retry(old, idempotency_key="k")
        again = await core.manager.retry(old, idempotency_key="k")

        assert (again.task.id, again.replayed, first.replayed) == (first.task.id, True, False)
        with pytest.raises(IdempotencyConflict):
            await core.manager.retry(other, idempotency_key="k")
        with pytest.raises(InvalidTask, match="idempotency_key"):
            await core.manager.retry(old, idempotency_key="")


async def test_a_retry_is_not_what_was_submitted_under_the_same_key() -> None:
    async with running_core() as core:
        [old] = await core.submit(make_submission(key="k"))
        await core.manager.cancel(old)
        with pytest.raises(IdempotencyConflict):
            await core.manager.retry(old, idempotency_key="k")


async def test_retries_are_counted_once_each() -> None:
    async with running_core() as core:
        old = await ended(core)
        await core.manager.retry(old)
        for _ in range(2):
            await core.manager.retry(old, idempotency_key="k")

        assert dict(core.manager.tally.retries) == {("echo", "default"): 2}


async def test_what_is_unknown_cannot_be_retried_nor_can_anything_while_the_server_stops() -> None:
    async with running_core() as core:
        old = await ended(core)
        with pytest.raises(TaskNotFound):
            await core.manager.retry("nobody's")
        await core.manager.drain()
        with pytest.raises(StoreUnavailable):
            await core.manager.retry(old)
