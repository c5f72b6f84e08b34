"""The events of a task: made when a change is committed, and made again later from what its row and attempts kept.

Both ways give the same events, so a task's history can be shown long after the blocks that carried it are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nodelink.task import Finished, TaskStatus
from nodelink_server.core.ports import Change, EventName, Notice, TaskEvent
from nodelink_server.core.task import Attempt, Superseded, Task


class Steps(NamedTuple):
    """The revision at which a task took each step; 0: it has not. `ready`: became pending for the first time.

    Its end needs none: it is the last revision of a task that has ended.
    """

    created: int = 0
    scheduled: int = 0
    ready: int = 0
    sent: int = 0
    started: int = 0
    cancelling: int = 0


@dataclass(frozen=True, slots=True)
class Past:
    """A superseded attempt, and the revisions at which it was sent, started and left behind (0: it was not)."""

    superseded: Superseded
    sent: int
    started: int
    ended: int


_CREATED = EventName.TASK_CREATED
_SCHEDULED = EventName.TASK_SCHEDULED
_PENDING = EventName.TASK_PENDING
_SENT = EventName.TASK_SENT
_STARTED = EventName.TASK_STARTED
_CANCELLING = EventName.TASK_CANCELLING
_STEPS = (_CREATED, _SCHEDULED, _PENDING, _SENT, _STARTED, _CANCELLING)
_ENDS: Mapping[TaskStatus, EventName] = {
    TaskStatus.COMPLETED: EventName.TASK_COMPLETED,
    TaskStatus.FAILED: EventName.TASK_FAILED,
    TaskStatus.TIMEOUT: EventName.TASK_TIMEOUT,
    TaskStatus.CANCELLED: EventName.TASK_CANCELLED,
    TaskStatus.LOST: EventName.TASK_LOST,
}
ENDS = frozenset(_ENDS.values())


@lru_cache(maxsize=256)
def _places(events: tuple[EventName, ...], requeued: bool) -> tuple[int, ...]:
    """For each step, its place among these events; -1: it is not one of them. To wait once more is no step."""
    return tuple(-1 if step not in events or (requeued and step is _PENDING) else events.index(step) for step in _STEPS)


def places_of(change: Change) -> tuple[int, ...]:
    """For each of `Steps`, its place among the events of a change; -1: the change does not take it."""
    return _places(change.events, change.superseded is not None)


def steps_of(change: Change, first: int) -> Steps:
    """The steps that a change takes, its events numbered from `first`."""
    return Steps(*[first + place if place >= 0 else 0 for place in places_of(change)])


def merged(before: Steps, after: Steps) -> Steps:
    """The steps taken so far, the latest of each kind."""
    return Steps(*map(max, before, after))


def revisions_of(change: Change) -> int:
    """How many revisions a change takes: one for each event, and one if it has none."""
    return len(change.events) or 1


def ended_revision(change: Change, first: int) -> int:
    """The revision at which a change leaves an attempt behind: its own `task.pending`, or else its last."""
    if EventName.TASK_PENDING in change.events:
        return first + change.events.index(EventName.TASK_PENDING)
    return first + revisions_of(change) - 1


def events_of(change: Change, first: int, now: int) -> list[TaskEvent]:
    """The events of a committed change, numbered from `first`."""
    task = change.task
    made = []
    for revision, name in enumerate(change.events, first):
        if name is _CREATED:
            made.append(_created(task, revision))
        elif name is _SCHEDULED:
            made.append(_scheduled(task, revision))
        elif name is _PENDING:
            made.append(_pending(task, revision, _ready_at(task, change.superseded)))
        elif name is _SENT:
            made.append(_sent(task, task.attempt, revision))
        elif name is _STARTED:
            made.append(_started(task, task.attempt, revision, stopping=_was_stopping(change)))
        elif name is _CANCELLING:
            made.append(_cancelling(task, revision))
        elif name in ENDS:
            made.append(_ended(task, change.finished, revision))
        else:
            made.append(_other(task, name, revision, now))
    return made


def event_of(notice: Notice, revision: int, now: int) -> TaskEvent:
    """The event of something that concerns no task."""
    return TaskEvent(revision, notice.name, now, agent_id=notice.agent_id, pool=notice.pool, data=notice.data)


def rebuilt(task: Task, steps: Steps, past: Sequence[Past], finished: Finished | None) -> list[TaskEvent]:
    """The events of a task from its first."""
    made = [_created(task, steps.created)]
    if steps.scheduled:
        made.append(_scheduled(task, steps.scheduled))
    if steps.ready:
        made.append(_pending(task, steps.ready, _ready_at(task, None)))
    for attempt in past:
        made.extend(_past(task, attempt))
    made.extend(_current(task, steps, finished))
    return sorted(made, key=lambda event: event.revision)


def _past(task: Task, past: Past) -> Iterator[TaskEvent]:
    attempt = past.superseded.attempt
    yield _sent(task, attempt, past.sent)
    if past.started:
        yield _started(task, attempt, past.started, stopping=False)
    yield _pending(task, past.ended, past.superseded.ended_at)


def _current(task: Task, steps: Steps, finished: Finished | None) -> Iterator[TaskEvent]:
    if task.attempt is not None:
        yield _sent(task, task.attempt, steps.sent)
        if steps.started > steps.sent:
            stopping = 0 < steps.cancelling < steps.started
            yield _started(task, task.attempt, steps.started, stopping=stopping)
    if steps.cancelling:
        yield _cancelling(task, steps.cancelling)
    if task.is_terminal:
        yield _ended(task, finished, task.revision)


def _ready_at(task: Task, superseded: Superseded | None) -> int:
    """When a task began to wait: for the first time, or because an attempt was left behind."""
    if superseded is not None:
        return superseded.ended_at
    return task.created_at if task.ready_at is None else task.ready_at


def _was_stopping(change: Change) -> bool:
    """Whether the task was being stopped already when a change tells of its start."""
    return change.task.stop is not None and _CANCELLING not in change.events


# One function for each event, called by its place: this is done several times for each task that passes.


def _created(task: Task, revision: int) -> TaskEvent:
    spec = task.spec
    return TaskEvent(
        revision, _CREATED, task.created_at, task.id, "", "created", "", spec.priority, spec.type, spec.pool
    )


def _scheduled(task: Task, revision: int) -> TaskEvent:
    spec = task.spec
    return TaskEvent(
        revision, _SCHEDULED, task.created_at, task.id, "", "scheduled", "time", spec.priority, spec.type, spec.pool
    )


def _pending(task: Task, revision: int, at: int) -> TaskEvent:
    spec = task.spec
    return TaskEvent(revision, _PENDING, at, task.id, "", "pending", "agent", spec.priority, spec.type, spec.pool)


def _sent(task: Task, attempt: Attempt | None, revision: int) -> TaskEvent:
    assert attempt is not None
    at = attempt.sent_at
    return _of_attempt(task, attempt, revision, _SENT, at, "sent", "", None)


def _started(task: Task, attempt: Attempt | None, revision: int, *, stopping: bool) -> TaskEvent:
    """A task that is being stopped keeps its status when its start is told."""
    assert attempt is not None
    at = attempt.sent_at if attempt.started_at is None else attempt.started_at
    if stopping and task.stop is not None:
        return _of_attempt(task, attempt, revision, _STARTED, at, "cancelling", task.stop.reason, None)
    return _of_attempt(task, attempt, revision, _STARTED, at, "in_progress", "", None)


def _cancelling(task: Task, revision: int) -> TaskEvent:
    stop = task.stop
    assert stop is not None
    data = {"message": stop.message} if stop.message else None
    return _of_attempt(task, task.attempt, revision, _CANCELLING, stop.asked_at, "cancelling", stop.reason, data)


def _ended(task: Task, finished: Finished | None, revision: int) -> TaskEvent:
    assert task.finished_at is not None
    name, data = _ENDS.get(task.status, f"task.{task.status}"), _ending(task, finished)
    return _of_attempt(task, task.attempt, revision, name, task.finished_at, task.status, task.reason, data)


def _ending(task: Task, finished: Finished | None) -> Mapping[str, object] | None:
    """What a listener wants to know about an end beside its status."""
    data: dict[str, object] = {}
    if task.message:
        data["message"] = task.message
    if finished is not None and finished.exit_code is not None:
        data["exit_code"] = finished.exit_code
    if finished is not None and finished.signal is not None:
        data["signal"] = finished.signal
    return data or None


def _other(task: Task, name: EventName, revision: int, now: int) -> TaskEvent:
    return _of_attempt(task, task.attempt, revision, name, now, task.status, task.reason, None)


def _of_attempt(
    task: Task,
    attempt: Attempt | None,
    revision: int,
    name: str,
    time: int,
    status: str,
    reason: str,
    data: Mapping[str, object] | None,
) -> TaskEvent:
    spec = task.spec
    agent_id, number = (attempt.agent_id, attempt.number) if attempt is not None else ("", 0)
    return TaskEvent(
        revision, name, time, task.id, agent_id, status, reason, spec.priority, spec.type, spec.pool, number, data
    )
