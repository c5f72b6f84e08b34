"""Retries: a known failure is tried again as often, and as far apart, as the task's own policy says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from nodelink.task import (
    ErrorCategory,
    Execution,
    Finished,
    HeldAttempt,
    HeldState,
    LogStream,
    Outcome,
    Reason,
    RetryPolicy,
    TaskError,
    TaskStatus,
    VerdictAction,
)
from nodelink_server.core.logbook import LogPage
from nodelink_server.core.retries import chance_of, is_worth_it, wait_of
from tests.support.core_parts import COMPLETED, Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

EXIT_3 = Finished(
    outcome=Outcome.FAILED,
    reason=Reason.EXIT_CODE,
    exit_code=3,
    error=TaskError(ErrorCategory.EXIT_CODE, "exit code 3"),
    log_totals={LogStream.STDOUT: 4},
)
TIMED_OUT = Finished(outcome=Outcome.TIMEOUT, reason=Reason.RUN_TIMEOUT)
FAILED = Finished(outcome=Outcome.FAILED, error=TaskError(ErrorCategory.HANDLER, "busy"))
THREE = RetryPolicy()
DAY_MS = 24 * 3600 * 1000


async def _agent(core: Core, *, slots: int = 20) -> FakeAgent:
    agent = FakeAgent(core, slots=slots)
    await agent.connect()
    return agent


async def _failed_once(core: Core, agent: FakeAgent, **fields: object) -> str:
    """A task that waits for its second try."""
    spec: dict[str, object] = {"retry": THREE} | fields
    [task_id] = await core.submit(make_submission("echo", **spec))  # type: ignore[arg-type]  # names of fields
    request = await agent.task()
    agent.say(request.ref, EXIT_3)
    await agent.acked(request.ref)
    return task_id


@pytest.mark.parametrize("execution", list(Execution))
async def test_a_failure_is_tried_again_until_it_succeeds(execution: Execution) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=THREE, execution=execution))
        for number in (1, 2):
            request = await agent.task(number - 1)
            assert request.ref.attempt == number
            agent.say(request.ref, EXIT_3)
            await agent.acked(request.ref)
            task = (await core.manager.get(task_id)).task
            assert (task.status, task.reason, task.failures) == (TaskStatus.SCHEDULED, Reason.RETRY, number)
            assert f"try {number} of 3" in task.message
        await agent.finish((await agent.task(2)).ref)

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.message) == (TaskStatus.COMPLETED, "")
        assert [(past.state, past.failure.exit_code) for past in record.earlier if past.failure] == [("failed", 3)] * 2
        names = [event.name for event in await core.database.store().history(task_id)]
        assert names.count("task.retrying") == 2
        assert names.count("task.pending") == names.count("task.sent") == 3


async def test_when_the_tries_are_used_up_the_last_failure_is_the_result() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=RetryPolicy(max_attempts=2)))
        for place in range(2):
            request = await agent.task(place)
            agent.say(request.ref, EXIT_3)
            await agent.acked(request.ref)

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.reason) == (TaskStatus.FAILED, Reason.EXIT_CODE)
        assert record.finished == EXIT_3
        assert len(agent.tasks) == 2


@pytest.mark.parametrize(
    "policy, finished",
    [
        (None, EXIT_3),
        (RetryPolicy(max_attempts=1), EXIT_3),
        (THREE, Finished(outcome=Outcome.FAILED, error=TaskError(ErrorCategory.INVALID_INPUT, "no"))),
        (THREE, Finished(outcome=Outcome.FAILED, exit_code=3, tree_gone=False)),
        (RetryPolicy(on=("exit_code:4", "timeout")), EXIT_3),
    ],
)
async def test_what_is_not_worth_it_ends_the_task(policy: RetryPolicy | None, finished: Finished) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=policy))
        request = await agent.task()
        agent.say(request.ref, finished)
        await agent.acked(request.ref)
        assert await core.status(task_id) is TaskStatus.FAILED


async def test_a_run_that_took_too_long_is_tried_again() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=THREE, timeout_ms=1_000))
        agent.say((await agent.task()).ref, TIMED_OUT)
        await agent.finish((await agent.task(1)).ref)
        [past] = (await core.manager.get(task_id)).earlier
        assert past.state == "timeout"


async def test_work_that_went_silent_for_too_long_is_tried_again_as_a_timeout() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        policy = RetryPolicy(initial_ms=0, on=("timeout",))
        [task_id] = await core.submit(make_submission(retry=policy, heartbeat_timeout_ms=1_000))
        request = await agent.task()
        assert request.spec.heartbeat_timeout_ms == 1_000
        error = TaskError(ErrorCategory.TIMEOUT, "no sign of life came for 1 s")
        agent.say(request.ref, Finished(outcome=Outcome.TIMEOUT, reason=Reason.HEARTBEAT_TIMEOUT, error=error))
        await agent.finish((await agent.task(1)).ref)
        [past] = (await core.manager.get(task_id)).earlier
        assert past.failure is not None
        assert (past.state, past.failure.reason) == ("timeout", "heartbeat_timeout")


async def test_a_failure_says_how_long_to_wait() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(make_submission(retry=RetryPolicy(initial_ms=1_000, max_ms=2_000)))
        ref = (await agent.task()).ref
        agent.say(ref, replace(FAILED, retry_after_ms=10_000))
        await agent.acked(ref)
        await asyncio.sleep(9.5)
        assert len(agent.tasks) == 1
        await agent.finish((await agent.task(1)).ref)


@pytest.mark.parametrize(
    "asked_ms, waits_ms", [(90_000, 90_000), (0, 0), (DAY_MS, DAY_MS), (DAY_MS + 1, DAY_MS), (400 * DAY_MS, DAY_MS)]
)
async def test_no_failure_asks_for_more_than_a_day(asked_ms: int, waits_ms: int) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=RetryPolicy(initial_ms=1_000, max_ms=2_000)))
        ref = (await agent.task()).ref
        agent.say(ref, replace(FAILED, retry_after_ms=asked_ms))
        await agent.acked(ref)
        [past] = (await core.manager.get(task_id)).earlier
        assert past.failure is not None
        assert (past.failure.retry_after_ms, past.failure.next_at - past.ended_at) == (asked_ms, waits_ms)


async def test_a_failure_that_wants_another_try_gets_none_without_a_policy() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        for policy in (None, RetryPolicy(max_attempts=1), RetryPolicy(on=("exit_code:4",))):
            place = len(agent.tasks)
            [task_id] = await core.submit(make_submission(retry=policy))
            ref = (await agent.task(place)).ref
            agent.say(ref, replace(FAILED, retry_after_ms=1_000))
            await agent.acked(ref)
            assert await core.status(task_id) is TaskStatus.FAILED


async def test_a_cancel_ends_the_tries_and_the_last_result_is_kept() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        task_id = await _failed_once(core, agent)
        await core.manager.cancel(task_id)
        await asyncio.sleep(600)

        record = await core.manager.get(task_id)
        assert record.task.status is TaskStatus.CANCELLED
        assert record.finished == EXIT_3
        assert len(agent.tasks) == 1


async def test_what_is_being_cancelled_is_not_tried_again() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=THREE))
        request = await agent.task()
        await core.manager.cancel(task_id)
        agent.say(request.ref, EXIT_3)
        await agent.acked(request.ref)
        assert await core.status(task_id) is TaskStatus.FAILED


async def test_the_result_of_a_try_is_shown_until_the_next_one_is_granted() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        task_id = await _failed_once(core, agent)
        assert (await core.manager.get(task_id)).finished == EXIT_3
        await agent.task(1)
        assert (await core.manager.get(task_id)).finished is None


async def test_a_result_that_comes_twice_is_no_evidence_of_anything() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        task_id = await _failed_once(core, agent)
        first = agent.tasks[0].ref
        agent.acks.clear()
        agent.say(first, EXIT_3)
        await agent.acked(first)
        await agent.finish((await agent.task(1)).ref)
        assert (await core.manager.get(task_id)).late_results == ()


async def test_output_that_comes_after_its_attempt_has_failed_is_kept() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        task_id = await _failed_once(core, agent)
        first = agent.tasks[0].ref
        await agent.task(1)
        await agent.hang_up()
        verdicts = await agent.connect(held=[HeldAttempt(first, HeldState.LOGS_ONLY)])
        assert [(verdict.action, [ack.offset for ack in verdict.logs]) for verdict in verdicts] == [
            (VerdictAction.KEEP, [0, 0])
        ]
        agent.print(first, 0, b"text")
        await agent.log_acked(first, 4)
        page = await core.manager.logs.read(task_id, attempt=1)
        assert (b"".join(row.data for row in page.rows), page.complete) == (b"text", True)


async def test_whoever_follows_the_output_hears_every_try() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=RetryPolicy(max_attempts=2)))

        async def follow() -> list[LogPage]:
            return [page async for page in core.manager.logs.follow(task_id)]

        following = asyncio.create_task(follow())
        for place, text in enumerate((b"one\n", b"two\n")):
            ref = (await agent.task(place)).ref
            agent.print(ref, 0, text)
            await agent.log_acked(ref, 4)
            agent.say(ref, EXIT_3)
            await agent.acked(ref)
        heard = await following
        printed = [(page.attempt, row.data) for page in heard for row in page.rows]
        assert printed == [(1, b"one\n"), (2, b"two\n")]
        assert [page.attempt for page in heard if page.complete] == [1, 2]


async def test_a_lock_is_free_between_the_tries() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        policy = RetryPolicy(initial_ms=5_000)
        first = await _failed_once(core, agent, lock="db", retry=policy)
        [second] = await core.submit(make_submission(lock="db"))
        assert (await agent.task(1)).ref.task_id == second
        await asyncio.sleep(6)
        assert await core.status(first) is TaskStatus.PENDING
        await agent.finish(agent.tasks[1].ref)
        assert (await agent.task(2)).ref.task_id == first


async def test_the_wait_goes_on_after_a_restart_and_an_outage_is_no_part_of_it() -> None:
    database = Database()
    policy = RetryPolicy(initial_ms=600_000, max_ms=600_000)
    async with running_core(database) as core:
        task_id = await _failed_once(core, await _agent(core), retry=policy)
        retry_at = (await core.manager.get(task_id)).task.retry_at
    await asyncio.sleep(10_000)
    async with running_core(database) as core:
        assert await core.status(task_id) is TaskStatus.SCHEDULED
        assert (await core.manager.get(task_id)).task.retry_at == retry_at
        core.clock.skew_ms += 10_000_000
        await asyncio.sleep(1)
        assert await core.status(task_id) is TaskStatus.SCHEDULED
        await eventually(lambda: _is(core, task_id, TaskStatus.PENDING), within=700)


async def test_a_queue_timeout_counts_for_each_wait() -> None:
    async with running_core() as core:
        agent = await _agent(core, slots=1)
        task_id = await _failed_once(core, agent, retry=RetryPolicy(initial_ms=50_000), queue_timeout_ms=5_000)
        agent.session.credit_given(2)
        await core.submit()
        await agent.task(1)
        await eventually(lambda: _is(core, task_id, TaskStatus.TIMEOUT), within=100)
        assert (await core.manager.get(task_id)).task.reason is Reason.QUEUE_TIMEOUT


async def test_failures_are_no_losses() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=RetryPolicy(max_attempts=10, initial_ms=0)))
        for place in range(9):
            agent.say((await agent.task(place)).ref, EXIT_3)
        agent.say((await agent.task(9)).ref, COMPLETED)
        await eventually(lambda: _is(core, task_id, TaskStatus.COMPLETED))
        task = (await core.manager.get(task_id)).task
        assert (task.failures, task.losses) == (9, 0)


def test_waits_grow_to_their_bound_and_chance_takes_the_whole_range() -> None:
    policy = RetryPolicy(initial_ms=1_000, max_ms=5_000, multiplier=2.0)
    assert [wait_of(policy, failures, 0.999_999) for failures in range(5)] == [999, 1_999, 3_999, 4_999, 4_999]
    assert wait_of(policy, 3, 0.0) == 0
    assert wait_of(RetryPolicy(max_ms=300_000), 10_000, 0.5) == 150_000
    drawn = [chance_of(f"t{number}", 0) for number in range(1_000)]
    assert min(drawn) < 0.01 < 0.99 < max(drawn) < 1
    assert chance_of("t", 0) != chance_of("t", 1)


@pytest.mark.parametrize(
    "on, finished, worth",
    [
        ((), EXIT_3, True),
        ((), TIMED_OUT, True),
        ((), Finished(outcome=Outcome.FAILED, error=TaskError(ErrorCategory.POLICY, "no")), False),
        (("policy",), Finished(outcome=Outcome.FAILED, error=TaskError(ErrorCategory.POLICY, "no")), True),
        (("exit_code",), EXIT_3, True),
        (("exit_code:3",), EXIT_3, True),
        (("exit_code:4",), EXIT_3, False),
        (("signal:9",), Finished(outcome=Outcome.FAILED, signal=9), True),
        (("signal:15",), Finished(outcome=Outcome.FAILED, signal=9), False),
        (("signal",), Finished(outcome=Outcome.FAILED, signal=9), True),
        (("timeout",), TIMED_OUT, True),
        (("exit_code",), TIMED_OUT, False),
        (("exit_code",), Finished(outcome=Outcome.FAILED, exit_code=137, signal=9), False),
    ],
)
def test_a_policy_may_name_what_is_worth_it(on: tuple[str, ...], finished: Finished, worth: bool) -> None:
    assert is_worth_it(RetryPolicy(on=on), finished) is worth


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status
