"""Each move from one value of a task to the next."""

from __future__ import annotations

import pytest

from nodelink.errors import IllegalTransition
from nodelink.task import ErrorCategory, Execution, Finished, Outcome, Reason, TaskError, TaskStatus
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Stop
from tests.support.core_parts import STOP, make_task

NOW = 1_800_000_100_000
TIMER_STOP = Stop(reason=Reason.RUN_TIMEOUT, message="ran too long", grace_ms=10, asked_at=NOW)
S = TaskStatus


def _finished(outcome: Outcome, **fields: object) -> Finished:
    return Finished(outcome=outcome, **fields)  # type: ignore[arg-type]  # names of fields


def test_a_new_task_can_wait_for_a_time_and_then_for_room() -> None:
    later = moves.scheduled(make_task(status=S.CREATED), due_at=NOW)
    waiting = moves.ready(later, rank=3, now=NOW, queue_deadline=77)

    assert (later.status, later.reason, later.due_at) == (S.SCHEDULED, Reason.TIME, NOW)
    assert (waiting.status, waiting.reason, waiting.rank, waiting.queue_deadline) == (S.PENDING, Reason.AGENT, 3, 77)


def test_a_grant_is_the_next_attempt() -> None:
    task = moves.granted(make_task(grants=2), agent_id="a1", session=4, fence=9, now=NOW)

    assert (task.status, task.grants) == (S.SENT, 3)
    assert task.ref == ("t1", 3, 9)
    assert task.attempt is not None
    assert (task.attempt.agent_id, task.attempt.session, task.attempt.started_at) == ("a1", 4, None)


def test_a_start_is_noted_and_a_task_that_is_being_stopped_keeps_its_status() -> None:
    begun = moves.started(make_task(status=S.SENT), at=NOW, containment="cgroup")
    stopping = moves.started(make_task(status=S.CANCELLING), at=NOW)

    assert (begun.status, stopping.status) == (S.IN_PROGRESS, S.CANCELLING)
    assert begun.attempt is not None
    assert (begun.attempt.started_at, begun.attempt.containment) == (NOW, "cgroup")


def test_what_never_began_waits_again_at_its_old_place() -> None:
    task = moves.given_back(make_task(status=S.SENT, rank=5))

    assert (task.status, task.rank, task.attempt, task.losses, task.grants) == (S.PENDING, 5, None, 0, 1)


def test_what_was_lost_with_its_agent_waits_again_and_is_counted() -> None:
    task = moves.replayed(make_task(status=S.IN_PROGRESS, rank=5), queue_deadline=99)

    assert (task.status, task.rank, task.attempt, task.losses, task.queue_deadline) == (S.PENDING, 5, None, 1, 99)


def test_what_was_lost_too_often_fails_and_may_have_run() -> None:
    task = moves.exhausted(make_task(status=S.SENT), now=NOW)

    assert (task.status, task.reason, task.may_have_run) == (S.FAILED, Reason.INFRASTRUCTURE, True)


def test_a_loss_says_whether_a_stop_was_left_unconfirmed() -> None:
    running = moves.lost(make_task(status=S.IN_PROGRESS, execution=Execution.ONCE), message="gone", now=NOW)
    stopping = moves.lost(make_task(status=S.CANCELLING, execution=Execution.ONCE), message="gone", now=NOW)

    assert (running.status, running.reason, running.may_have_run) == (S.LOST, Reason.AGENT_LOST, True)
    assert (stopping.status, stopping.reason) == (S.LOST, Reason.CANCEL_UNCONFIRMED)


def test_a_waiting_task_is_cancelled_or_expires_at_once() -> None:
    cancelled = moves.cancelled(make_task(), message="no more", now=NOW)
    expired = moves.expired(make_task(), reason=Reason.QUEUE_TIMEOUT, message="nobody", now=NOW)

    assert (cancelled.status, cancelled.message, cancelled.finished_at) == (S.CANCELLED, "no more", NOW)
    assert (expired.status, expired.reason) == (S.TIMEOUT, Reason.QUEUE_TIMEOUT)


def test_a_stop_is_kept_with_the_task_until_it_is_answered() -> None:
    task = moves.stopping(make_task(status=S.IN_PROGRESS), stop=STOP)

    assert (task.status, task.reason, task.stop) == (S.CANCELLING, STOP.reason, STOP)


@pytest.mark.parametrize("stop, status", [(STOP, S.CANCELLED), (TIMER_STOP, S.TIMEOUT)])
def test_what_was_stopped_ends_for_the_sake_of_whoever_asked(stop: Stop, status: TaskStatus) -> None:
    task = moves.stopped(make_task(status=S.CANCELLING, stop=stop), now=NOW)

    assert (task.status, task.reason) == (status, stop.reason)


@pytest.mark.parametrize("status", [S.SENT, S.IN_PROGRESS, S.CANCELLING])
def test_a_result_that_was_there_first_stands(status: TaskStatus) -> None:
    assert moves.settled(make_task(status=status), _finished(Outcome.COMPLETED), now=NOW).status is S.COMPLETED
    failed = _finished(Outcome.FAILED, reason=Reason.EXIT_CODE, error=TaskError(ErrorCategory.EXIT_CODE, "exit 3"))
    after = moves.settled(make_task(status=status), failed, now=NOW)
    assert (after.status, after.reason, after.message) == (S.FAILED, Reason.EXIT_CODE, "exit 3")


@pytest.mark.parametrize(
    "outcome, stop, status",
    [
        (Outcome.CANCELLED, STOP, S.CANCELLED),
        (Outcome.CANCELLED, TIMER_STOP, S.TIMEOUT),
        (Outcome.TIMEOUT, STOP, S.TIMEOUT),
        (Outcome.TIMEOUT, TIMER_STOP, S.TIMEOUT),
    ],
)
def test_a_confirmed_stop_settles_by_who_asked_and_how_it_ended(
    outcome: Outcome, stop: Stop, status: TaskStatus
) -> None:
    task = make_task(status=S.CANCELLING, stop=stop)

    assert moves.settled(task, _finished(outcome, reason=stop.reason), now=NOW).status is status


def test_a_task_that_was_stopped_goes_on_saying_why_in_words() -> None:
    stop = Stop(reason=Reason.CANCELLED_BY_CALLER, message="not needed", grace_ms=10, asked_at=NOW)
    task = make_task(status=S.CANCELLING, stop=stop)

    stopped = moves.settled(task, _finished(Outcome.CANCELLED, reason=stop.reason), now=NOW)
    completed = moves.settled(task, _finished(Outcome.COMPLETED), now=NOW)

    assert (stopped.message, completed.message) == ("not needed", "")


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.TIMEOUT])
def test_a_stop_that_left_something_running_is_a_failure(outcome: Outcome) -> None:
    task = moves.settled(make_task(status=S.CANCELLING), _finished(outcome, tree_gone=False), now=NOW)

    assert task.status is S.FAILED


def test_a_stop_that_nobody_asked_for_is_a_failure() -> None:
    assert moves.settled(make_task(status=S.IN_PROGRESS), _finished(Outcome.CANCELLED), now=NOW).status is S.FAILED


@pytest.mark.parametrize("status", [S.SENT, S.IN_PROGRESS])
def test_an_agent_that_kept_the_run_timeout_settles_it(status: TaskStatus) -> None:
    task = moves.settled(make_task(status=status), _finished(Outcome.TIMEOUT, reason=Reason.RUN_TIMEOUT), now=NOW)

    assert (task.status, task.reason) == (S.TIMEOUT, Reason.RUN_TIMEOUT)


def test_a_result_without_a_start_tells_when_the_work_began() -> None:
    task = make_task(status=S.SENT)
    assert task.attempt is not None
    now = task.attempt.sent_at + 10_000

    after = moves.settled(task, _finished(Outcome.COMPLETED, run_seconds=4.0), now=now)
    at_once = moves.settled(task, _finished(Outcome.COMPLETED, run_seconds=400.0), now=now)

    assert after.attempt is not None
    assert after.attempt.started_at == now - 4_000
    assert at_once.attempt is not None
    assert at_once.attempt.started_at == task.attempt.sent_at


def test_what_has_ended_carries_no_payload_and_is_never_settled_again() -> None:
    ended = moves.settled(make_task(status=S.SENT), _finished(Outcome.COMPLETED), now=NOW)

    assert ended.payload is None
    with pytest.raises(IllegalTransition):
        moves.settled(ended, _finished(Outcome.FAILED), now=NOW)
