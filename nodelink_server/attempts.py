"""How each attempt at a task ended, and when the next one is due: read from its record, for every door."""

from __future__ import annotations

from typing import NamedTuple

from nodelink.task import Reason, TaskStatus
from nodelink_server.core.attempt import Superseded
from nodelink_server.core.task_record import TaskRecord


class AttemptEnd(NamedTuple):
    """How an attempt ended. What is not known, or has not happened, is empty or None."""

    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None


def end_of_earlier(superseded: Superseded) -> AttemptEnd:
    """How an attempt ended that its task has left behind. Nothing is known of one that was lost or never began."""
    failure = superseded.failure
    if failure is None:
        return AttemptEnd()
    return AttemptEnd(failure.reason, failure.message, failure.exit_code, failure.signal)


def end_of_last(record: TaskRecord) -> AttemptEnd:
    """How the attempt ended that its task ended with; nothing of one that goes on."""
    task, finished = record.task, record.finished
    if not task.is_terminal:
        return AttemptEnd()
    exit_code, signal = (finished.exit_code, finished.signal) if finished else (None, None)
    return AttemptEnd(task.reason, task.message, exit_code, signal)


def retry_at_of(record: TaskRecord) -> int | None:
    """About when a failed task is tried again, in wall-clock milliseconds. None: it does not wait for that."""
    task = record.task
    if task.status is not TaskStatus.SCHEDULED or task.reason is not Reason.RETRY:
        return None
    failures = (past.failure for past in reversed(record.earlier))
    return next((failure.next_at for failure in failures if failure is not None), None)
