"""How a task makes way for another: what waits is cancelled at once, what is with an agent is asked to stop."""

from __future__ import annotations

from nodelink.task import DEFAULT_GRACE_MS, Reason, TaskStatus
from nodelink.values import evolve
from nodelink_server.core.attempt import Stop
from nodelink_server.core.changes import changed
from nodelink_server.core.ports import Change, EventName, IdempotencyKey
from nodelink_server.core.task import Task, cancelled, key_given_up, stop_wanted, stopping


def superseded(task: Task, *, by: str, now: int) -> Change | None:
    """What follows for a live task when the one with the id `by` is to have its place; None: it is to stop already."""
    message = f"task {by} takes its place"
    if task.is_waiting:
        after = cancelled(task, message=message, now=now, reason=Reason.SUPERSEDED)
        return changed(task, after, EventName.TASK_CANCELLED)
    if task.stop is not None:
        return None
    stop = Stop(reason=Reason.SUPERSEDED, message=message, grace_ms=DEFAULT_GRACE_MS, asked_at=now)
    if task.status is TaskStatus.UNKNOWN:
        return changed(task, stop_wanted(task, stop=stop))
    return changed(task, stopping(task, stop=stop), EventName.TASK_CANCELLING)


def replaced(task: Task, *, by: Task, key: IdempotencyKey | None, now: int) -> Change:
    """What follows for the live task whose unique key a new one is to have. It is the new one's from that commit on,
    however long this one takes to end. `key`: the new one's idempotency key; if that is taken, nothing follows.
    """
    change = superseded(task, by=by.id, now=now)
    if change is None or not change.task.is_terminal:
        after, events = (task, ()) if change is None else (change.task, change.events)
        change = changed(task, key_given_up(after), *events)
    return evolve(change, idempotency=key)
