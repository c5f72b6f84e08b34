"""The events of a task: made when a change is committed, and made again later from what its row and attempts kept.

Both ways give the same events, so a task's history can be shown long after the blocks that carried it are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nodelink.task import Finished, Reason, TaskStatus
from nodelink_server.core.ports import Change, EventName, Notice, TaskEvent
from nodelink_server.core.task import Attempt, Superseded, Task


class Steps(NamedTuple):
    """The revision at which a task took each step; 0: it has not. `ready`: became pending for the first time."""

    created: int = 0
    scheduled: int = 0
    ready: int = 0
    sent: int = 0
    started: int = 0
    cancelling: int = 0
    finished: int = 0


@dataclass(frozen=True, slots=True)
class Past:
    """A superseded attempt, and the revisions at which it was sent, started and left behind (0: it was not)."""

    superseded: Superseded
    sent: int
    started: int
    ended: int


_STEP_OF: Mapping[EventName, int] = {
    EventName.TASK_CREATED: 0,
    EventName.TASK_SCHEDULED: 1,
    EventName.TASK_PENDING: 2,
    EventName.TASK_SENT: 3,
    EventName.TASK_STARTED: 4,
    EventName.TASK_CANCELLING: 5,
    EventName.TASK_COMPLETED: 6,
    EventName.TASK_FAILED: 6,
    EventName.TASK_TIMEOUT: 6,
    EventName.TASK_CANCELLED: 6,
    EventName.TASK_LOST: 6,
}
_END_OF: Mapping[TaskStatus, EventName] = {
    TaskStatus.COMPLETED: EventName.TASK_COMPLETED,
    TaskStatus.FAILED: EventName.TASK_FAILED,
    TaskStatus.TIMEOUT: EventName.TASK_TIMEOUT,
    TaskStatus.CANCELLED: EventName.TASK_CANCELLED,
    TaskStatus.LOST: EventName.TASK_LOST,
}


@lru_cache(maxsize=256)
def _places(events: tuple[EventName, ...], requeued: bool) -> tuple[int, ...]:
    """For each step, its place among these events; -1: it is not one of them."""
    places = [-1] * len(Steps._fields)
    for place, name in enumerate(events):
        step = _STEP_OF.get(name)
        if step is not None and not (requeued and name is EventName.TASK_PENDING):
            places[step] = place
    return tuple(places)


def steps_of(change: Change, first: int) -> Steps:
    """The steps that a change takes, its events numbered from `first`. Waiting once more is no step."""
    places = _places(change.events, change.superseded is not None)
    return Steps(*[first + place if place >= 0 else 0 for place in places])


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
    made = []
    for revision, name in enumerate(change.events, first):
        make = _MAKERS.get(name)
        made.append(make(change, revision) if make else _other(change, name, revision, now))
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
        made.append(_pending(task, steps.ready, task.ready_at or task.created_at))
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
    if steps.finished:
        yield _ended(task, finished, steps.finished)


def _event(
    task: Task,
    revision: int,
    name: str,
    time: int,
    status: str,
    reason: str = "",
    attempt: Attempt | None = None,
    data: Mapping[str, object] | None = None,
) -> TaskEvent:
    spec = task.spec
    agent_id, number = (attempt.agent_id, attempt.number) if attempt else ("", 0)
    return TaskEvent(
        revision, name, time, task.id, agent_id, status, reason, spec.priority, spec.type, spec.pool, number, data
    )


def _created(task: Task, revision: int) -> TaskEvent:
    return _event(task, revision, EventName.TASK_CREATED, task.created_at, TaskStatus.CREATED)


def _scheduled(task: Task, revision: int) -> TaskEvent:
    return _event(task, revision, EventName.TASK_SCHEDULED, task.created_at, TaskStatus.SCHEDULED, Reason.TIME)


def _pending(task: Task, revision: int, at: int) -> TaskEvent:
    return _event(task, revision, EventName.TASK_PENDING, at, TaskStatus.PENDING, Reason.AGENT)


def _sent(task: Task, attempt: Attempt, revision: int) -> TaskEvent:
    return _event(task, revision, EventName.TASK_SENT, attempt.sent_at, TaskStatus.SENT, attempt=attempt)


def _started(task: Task, attempt: Attempt, revision: int, *, stopping: bool) -> TaskEvent:
    """A task that is being stopped keeps its status when its start is told."""
    status = TaskStatus.CANCELLING if stopping else TaskStatus.IN_PROGRESS
    reason = task.stop.reason if stopping and task.stop else ""
    at = attempt.sent_at if attempt.started_at is None else attempt.started_at
    return _event(task, revision, EventName.TASK_STARTED, at, status, reason, attempt)


def _cancelling(task: Task, revision: int) -> TaskEvent:
    assert task.stop is not None
    data = {"message": task.stop.message} if task.stop.message else None
    reason, asked_at = task.stop.reason, task.stop.asked_at
    return _event(
        task, revision, EventName.TASK_CANCELLING, asked_at, TaskStatus.CANCELLING, reason, task.attempt, data
    )


def _ended(task: Task, finished: Finished | None, revision: int) -> TaskEvent:
    assert task.finished_at is not None
    name, data = _END_OF.get(task.status, f"task.{task.status}"), _ending(task, finished)
    return _event(task, revision, name, task.finished_at, task.status, task.reason, task.attempt, data)


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


def _other(change: Change, name: EventName, revision: int, now: int) -> TaskEvent:
    task = change.task
    return _event(task, revision, name, now, task.status, task.reason, task.attempt)


def _change_pending(change: Change, revision: int) -> TaskEvent:
    if change.superseded is not None:
        return _pending(change.task, revision, change.superseded.ended_at)
    return _pending(change.task, revision, change.task.ready_at or change.task.created_at)


def _change_sent(change: Change, revision: int) -> TaskEvent:
    assert change.task.attempt is not None
    return _sent(change.task, change.task.attempt, revision)


def _change_started(change: Change, revision: int) -> TaskEvent:
    assert change.task.attempt is not None
    stopping = change.task.stop is not None and EventName.TASK_CANCELLING not in change.events
    return _started(change.task, change.task.attempt, revision, stopping=stopping)


def _change_ended(change: Change, revision: int) -> TaskEvent:
    return _ended(change.task, change.finished, revision)


_MAKERS: Mapping[EventName, Callable[[Change, int], TaskEvent]] = {
    EventName.TASK_CREATED: lambda change, revision: _created(change.task, revision),
    EventName.TASK_SCHEDULED: lambda change, revision: _scheduled(change.task, revision),
    EventName.TASK_PENDING: _change_pending,
    EventName.TASK_SENT: _change_sent,
    EventName.TASK_STARTED: _change_started,
    EventName.TASK_CANCELLING: lambda change, revision: _cancelling(change.task, revision),
} | dict.fromkeys(_END_OF.values(), _change_ended)
