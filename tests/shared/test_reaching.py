"""Whether a task has come as far as somebody waits for, by what is heard of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nodelink.client import Attempt, Event, Task
from nodelink.client.reaching import FINISHED, STATUSES, Reaching
from nodelink.errors import InvalidTask, TaskAlreadyFinished
from nodelink.task import TaskSpec, TaskStatus

PLAIN = ("created", "pending", "sent", "in_progress")


def heard(wanted: str, *statuses: str) -> bool | None:
    """What is known after a task has been in these statuses; None: it never will be."""
    reaching = Reaching("t1", wanted)
    try:
        for status in statuses:
            reaching.hear(Event(revision=1, name="", time=0, task_id="t1", status=TaskStatus(status)))
    except TaskAlreadyFinished:
        return None
    return reaching.is_reached


@pytest.mark.parametrize(
    "wanted, statuses, reached",
    [
        ("in_progress", PLAIN[:3], False),
        ("in_progress", PLAIN, True),
        ("in_progress", (*PLAIN, "completed"), True),
        ("in_progress", (*PLAIN, "scheduled"), True),
        ("in_progress", ("created", "pending", "cancelled"), None),
        ("in_progress", ("created", "sent", "cancelling"), False),
        ("in_progress", ("created", "sent", "cancelling", "cancelled"), None),
        ("sent", ("created", "sent", "cancelling"), True),
        ("pending", ("created", "sent"), True),
        ("pending", ("created", "scheduled"), False),
        ("scheduled", ("created", "pending"), True),
        ("blocked", ("created",), False),
        ("created", ("created",), True),
        ("cancelling", PLAIN, False),
        ("cancelling", (*PLAIN, "cancelling"), True),
        ("cancelling", (*PLAIN, "completed"), None),
        ("unknown", (*PLAIN, "unknown"), True),
        ("unknown", (*PLAIN, "failed"), None),
        ("plan_completed", PLAIN, False),
        ("completed", PLAIN, False),
        ("completed", (*PLAIN, "completed"), True),
        ("completed", (*PLAIN, "failed"), None),
        ("failed", (*PLAIN, "failed"), True),
        (FINISHED, PLAIN, False),
        (FINISHED, ("created", "skipped"), True),
    ],
)
def test_a_status_is_reached_passed_or_missed(wanted: str, statuses: Sequence[str], reached: bool | None) -> None:
    assert heard(wanted, *statuses) is reached


@pytest.mark.parametrize("status", [status for status in STATUSES if status != FINISHED])
def test_whoever_is_in_a_status_has_reached_it(status: str) -> None:
    assert heard(status, status) is True


def test_what_it_ended_as_is_said() -> None:
    reaching = Reaching("t1", "in_progress")
    with pytest.raises(TaskAlreadyFinished, match=r"^t1 has ended \(cancelled\) and was never in_progress$"):
        reaching.hear(Event(revision=1, name="", time=0, task_id="t1", status=TaskStatus.CANCELLED))


def test_what_is_heard_of_others_or_of_nothing_does_not_count() -> None:
    reaching = Reaching("t1", "in_progress")
    reaching.hear(Event(revision=1, name="", time=0, task_id="t2", status=TaskStatus.FAILED))
    reaching.hear(Event(revision=1, name="task.output", time=0, task_id="t1"))
    assert not reaching.is_reached


@pytest.mark.parametrize(
    "attempts, status, reached",
    [
        ((), TaskStatus.PENDING, False),
        ((Attempt(number=1, agent_id="a1", state="void"),), TaskStatus.PENDING, False),
        ((Attempt(number=1, agent_id="a1", state="failed", started_at=1),), TaskStatus.SCHEDULED, True),
        ((Attempt(number=1, agent_id="a1", state="finished", started_at=1),), TaskStatus.FAILED, True),
    ],
)
def test_what_happened_unheard_is_seen(attempts: Sequence[Attempt], status: TaskStatus, reached: bool) -> None:
    reaching = Reaching("t1", "in_progress")
    spec = TaskSpec(type="echo")
    reaching.see(Task(id="t1", status=status, spec=spec, payload=b"", created_at=0, updated_at=0, attempts=attempts))
    assert reaching.is_reached is reached


@pytest.mark.parametrize("wrong", ["", "running", "FINISHED", 7])
def test_what_is_no_status_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(InvalidTask, match=r"^until: "):
        Reaching("t1", wrong)
