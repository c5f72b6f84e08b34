"""The events of a task: made when a change is committed, and made again later from what its row and attempts kept.

Both ways give the same events, so a task's history can be shown long after the blocks that carried it are gone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nodelink.task import Finished, TaskStatus
from nodelink.values import evolve
from nodelink_server.core.artifacts import artifact_notice
from nodelink_server.core.attempt import PLANNED, Attempt, Stop, Superseded
from nodelink_server.core.blob_ports import Artifact
from nodelink_server.core.ports import Change, EventName, Notice, TaskEvent
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import Remark


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
    """A superseded attempt, and the revisions at which it was sent, started and left behind (0: it was not).

    `stop`: that it was to stop, told at revision `cancelling`; 0: that was not told. `ready`, `ready_at`: when its task
    had begun to wait that was given to it; revision 0: it did not wait, or that is the wait before.
    """

    superseded: Superseded
    sent: int
    started: int
    ended: int
    stop: Stop | None = None
    cancelling: int = 0
    ready: int = 0
    ready_at: int | None = None


class Mark(NamedTuple):
    """An event of a task's attempt, as the remark keeps it that was made with it."""

    revision: int
    name: str
    at: int
    status: str
    reason: str
    message: str


class Noted(NamedTuple):
    """A remark, and the events that only it can tell again."""

    remark: Remark
    marks: tuple[Mark, ...] = ()


_CREATED = EventName.TASK_CREATED
_SCHEDULED = EventName.TASK_SCHEDULED
_PENDING = EventName.TASK_PENDING
_SENT = EventName.TASK_SENT
_STARTED = EventName.TASK_STARTED
_CANCELLING = EventName.TASK_CANCELLING
_UNKNOWN = EventName.TASK_UNKNOWN
_RECOVERED = EventName.TASK_RECOVERED
_RETRYING = EventName.TASK_RETRYING
_PLAN_COMPLETED = EventName.TASK_PLAN_COMPLETED
_APPLY_PENDING = EventName.TASK_APPLY_PENDING
_STEPS = (_CREATED, _SCHEDULED, _PENDING, _SENT, _STARTED, _CANCELLING)
_ENDS: Mapping[TaskStatus, EventName] = {
    TaskStatus.COMPLETED: EventName.TASK_COMPLETED,
    TaskStatus.FAILED: EventName.TASK_FAILED,
    TaskStatus.TIMEOUT: EventName.TASK_TIMEOUT,
    TaskStatus.CANCELLED: EventName.TASK_CANCELLED,
    TaskStatus.LOST: EventName.TASK_LOST,
    TaskStatus.SKIPPED: EventName.TASK_SKIPPED,
}
ENDS = frozenset(_ENDS.values())


@lru_cache(maxsize=256)
def _places(events: tuple[EventName, ...], requeued: bool) -> tuple[int, ...]:
    """For each step, its place among these events; -1: it is not one of them.

    To wait once more is no step, and nor is it to be told once more to stop, after a doubt.
    """
    repeated = {_PENDING: requeued, _CANCELLING: _RECOVERED in events}
    return tuple(-1 if step not in events or repeated.get(step) else events.index(step) for step in _STEPS)


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


def past_by(change: Change, first: int, *, steps: Steps, stop: Stop | None, ready_at: int | None) -> Past:
    """The attempt that a change leaves behind. `steps`, `stop`, `ready_at`: as they were before the change.

    Which places it had, and which other limits, is of no use any more, and is not kept.
    """
    assert change.superseded is not None
    superseded = evolve(change.superseded, attempt=evolve(change.superseded.attempt, holds=(), extension=None))
    current, taken = of_current(steps), steps_of(change, first)
    return Past(
        superseded,
        current.sent,
        current.started or taken.started,
        ended_revision(change, first),
        stop,
        current.cancelling,
        current.ready,
        ready_at,
    )


def events_of(change: Change, first: int, now: int, names: Collection[str] | None = None) -> list[TaskEvent]:
    """The events of a committed change, numbered from `first`. `names`: only those; None: all."""
    task = change.task
    made = []
    told = enumerate(change.events, first)
    for revision, name in told if names is None else (one for one in told if one[1] in names):
        if name is _CREATED:
            made.append(_created(task, revision))
        elif name is _SCHEDULED:
            made.append(_scheduled(task, revision))
        elif name is _PENDING:
            made.append(_pending(task, revision, _ready_at(task, change.superseded)))
        elif name is _SENT:
            made.append(_sent(task, task.attempt, revision))
        elif name is _STARTED:
            made.append(_start(change, revision))
        elif name is _CANCELLING:
            made.append(_cancelling(task, task.attempt, task.stop, revision))
        elif name in ENDS:
            made.append(_ended(task, change.finished, revision))
        elif name is _UNKNOWN or name is _RECOVERED or (name is _APPLY_PENDING and change.remark is not None):
            made.append(_marked(task, _remark_of(change), _mark(change, name, revision)))
        else:
            made.append(_other(change, name, revision, now))
    return made


def _start(change: Change, revision: int) -> TaskEvent:
    """The start of an attempt, which the same change may leave behind."""
    task, superseded = change.task, change.superseded
    attempt = task.attempt if superseded is None else superseded.attempt
    return _started(task, attempt, revision, task.stop if _was_stopping(change) else None)


def event_of(notice: Notice, revision: int, now: int) -> TaskEvent:
    """The event of something that is no step of a task."""
    return TaskEvent(
        revision,
        notice.name,
        notice.at or now,
        notice.task_id,
        notice.agent_id,
        type=notice.type,
        pool=notice.pool,
        attempt=notice.attempt,
        data=notice.data,
    )


def with_artifacts(made: Sequence[TaskEvent], task: Task, told: Sequence[tuple[int, Artifact]]) -> Sequence[TaskEvent]:
    """The events of a task with those of its artifacts, each given with its revision."""
    if not told:
        return made
    added = [event_of(artifact_notice(task, artifact), revision, 0) for revision, artifact in told]
    return sorted([*made, *added], key=lambda event: event.revision)


def noted(change: Change, first: int) -> Noted:
    """The remark of a committed change as it is kept, its events numbered from `first`."""
    remark = _remark_of(change)
    told = enumerate(change.events, first)
    marks = tuple(_mark(change, name, revision) for revision, name in told if _is_marked(name, change.events))
    return Noted(remark._replace(revision=first + revisions_of(change) - 1), marks)


def _is_marked(name: EventName, events: Sequence[EventName]) -> bool:
    """Whether only the remark can tell an event again."""
    return name in (_UNKNOWN, _RECOVERED, _APPLY_PENDING) or (name is _CANCELLING and _RECOVERED in events)


def _mark(change: Change, name: EventName, revision: int) -> Mark:
    """What an event says that came with a remark. If it was to stop before, a task goes on being stopped."""
    remark, stop = _remark_of(change), change.task.stop
    if name is _UNKNOWN:
        return Mark(revision, name, remark.at, TaskStatus.UNKNOWN, change.task.reason, remark.text)
    if name is _APPLY_PENDING:
        return Mark(revision, name, remark.at, TaskStatus.APPLY_PENDING, change.task.reason, remark.text)
    if name is _CANCELLING:
        assert stop is not None
        return Mark(revision, name, stop.asked_at, TaskStatus.CANCELLING, stop.reason, stop.message)
    if stop is not None and _was_stopping(change):
        return Mark(revision, name, remark.at, TaskStatus.CANCELLING, stop.reason, remark.text)
    return Mark(revision, name, remark.at, TaskStatus.IN_PROGRESS, "", remark.text)


def _remark_of(change: Change) -> Remark:
    assert change.remark is not None, "a doubt and its end are told with a remark"
    return change.remark


def rebuilt(
    task: Task, steps: Steps, past: Sequence[Past], notes: Sequence[Noted], finished: Finished | None
) -> list[TaskEvent]:
    """The events of a task from its first."""
    made = [_created(task, steps.created)]
    if steps.scheduled:
        made.append(_scheduled(task, steps.scheduled))
    waits: dict[int, int] = {}
    for attempt in past:
        waits.setdefault(attempt.ready, attempt.ready_at or task.created_at)
    waits.setdefault(steps.ready, _ready_at(task, None))  # what waits to be applied is ready for the second time
    made.extend(_pending(task, revision, at) for revision, at in waits.items() if revision)
    made.extend(_marked(task, remark, mark) for remark, marks in notes for mark in marks)
    told = [mark for _, marks in notes for mark in marks if mark.name in (_CANCELLING, _UNKNOWN)]
    for attempt in past:
        made.extend(_past(task, attempt, told))
    made.extend(_current(task, steps, told, finished))
    before = [(note.remark.revision, note.remark.priority) for note in notes if note.remark.priority]
    return sorted(_prioritized(made, before), key=lambda event: event.revision)


def _prioritized(made: Sequence[TaskEvent], before: Sequence[tuple[int, int]]) -> Sequence[TaskEvent]:
    """Events with the priorities of their times. `before`: up to which revision the task had which, the last apart."""
    if not before:
        return made
    then = ((event, next((old for last, old in before if event.revision < last), event.priority)) for event in made)
    return [event._replace(priority=priority) for event, priority in then]


def _past(task: Task, past: Past, told: Sequence[Mark]) -> Iterator[TaskEvent]:
    superseded = past.superseded
    yield from _run(task, superseded.attempt, past, past.stop, told)
    if superseded.has_failed:
        yield _retrying(task, superseded, past.ended)
    elif superseded.state == PLANNED:
        yield _plan_completed(task, superseded, past.ended)
    elif superseded.state == "void" and superseded.plan is not None:
        yield _apply_pending(task, past.ended, superseded.ended_at)
    else:
        yield _pending(task, past.ended, past.superseded.ended_at)


def _current(task: Task, steps: Steps, told: Sequence[Mark], finished: Finished | None) -> Iterator[TaskEvent]:
    if task.attempt is not None:
        yield from _run(task, task.attempt, of_current(steps), task.stop, told)
    if task.is_terminal:
        yield _ended(task, finished if task.attempt is not None else None, task.revision)


def of_current(steps: Steps) -> Steps:
    """The steps without those that an earlier attempt took."""
    return steps._replace(
        started=steps.started if steps.started > steps.sent else 0,
        cancelling=steps.cancelling if steps.cancelling > steps.sent else 0,
    )


def _run(
    task: Task, attempt: Attempt, steps: Steps | Past, stop: Stop | None, told: Sequence[Mark]
) -> Iterator[TaskEvent]:
    """What is told of an attempt. `told`: when a task was in doubt, and when it was told once more to stop."""
    yield _sent(task, attempt, steps.sent)
    if steps.started:
        was_stopping = stop is not None and _was_stopping_at_start(steps, stop, told)
        yield _started(task, attempt, steps.started, stop if was_stopping else None)
    if steps.cancelling:
        yield _cancelling(task, attempt, stop, steps.cancelling)


def _was_stopping_at_start(steps: Steps | Past, stop: Stop, told: Sequence[Mark]) -> bool:
    """Whether an attempt was to be stopped before its start was told.

    To want what is in doubt to stop is no event: that was in the last doubt before it.
    """
    ended = steps.ended if isinstance(steps, Past) else math.inf
    marks = [mark for mark in told if steps.sent < mark.revision <= ended]
    stops = [mark.revision for mark in marks if mark.name == _CANCELLING]
    if steps.cancelling:
        stops.append(steps.cancelling)
    if not stops:
        doubts = [mark for mark in marks if mark.name == _UNKNOWN]
        before = [mark for mark in doubts if mark.at <= stop.asked_at] or doubts
        stops = [mark.revision for mark in before[-1:]]
    return any(revision < steps.started for revision in stops)


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


def _started(task: Task, attempt: Attempt | None, revision: int, stop: Stop | None) -> TaskEvent:
    """A task that is being stopped keeps its status when its start is told."""
    assert attempt is not None
    at = attempt.sent_at if attempt.started_at is None else attempt.started_at
    if stop is not None:
        return _of_attempt(task, attempt, revision, _STARTED, at, "cancelling", stop.reason, None)
    return _of_attempt(task, attempt, revision, _STARTED, at, "in_progress", "", None)


def _cancelling(task: Task, attempt: Attempt | None, stop: Stop | None, revision: int) -> TaskEvent:
    assert stop is not None
    data = {"message": stop.message} if stop.message else None
    return _of_attempt(task, attempt, revision, _CANCELLING, stop.asked_at, "cancelling", stop.reason, data)


def _retrying(task: Task, superseded: Superseded | None, revision: int) -> TaskEvent:
    assert superseded is not None
    failure, at = superseded.failure, superseded.ended_at
    assert failure is not None
    data: dict[str, object] = {"cause": failure.reason, "retry_in_ms": failure.next_at - at}
    told = {"message": failure.message or None, "exit_code": failure.exit_code, "signal": failure.signal}
    data.update((name, value) for name, value in told.items() if value is not None)
    return _of_attempt(task, superseded.attempt, revision, _RETRYING, at, "scheduled", "retry", data)


def _plan_completed(task: Task, superseded: Superseded | None, revision: int) -> TaskEvent:
    assert superseded is not None
    assert superseded.plan is not None
    plan, at = superseded.plan.plan, superseded.ended_at
    data: dict[str, object] = {"plan_sha256": plan.sha256}
    told = {"inputs_sha256": plan.inputs_sha256, "target": plan.target}
    data.update((name, text) for name, text in told.items() if text)
    return _of_attempt(task, superseded.attempt, revision, _PLAN_COMPLETED, at, "plan_completed", "approval", data)


def _apply_pending(task: Task, revision: int, at: int) -> TaskEvent:
    """A task waits to apply its plan once more: its last attempt at that never began."""
    spec = task.spec
    return TaskEvent(
        revision, _APPLY_PENDING, at, task.id, "", "apply_pending", "agent", spec.priority, spec.type, spec.pool
    )


def _marked(task: Task, remark: Remark, mark: Mark) -> TaskEvent:
    spec, data = task.spec, {"message": mark.message} if mark.message else None
    return TaskEvent(
        mark.revision, mark.name, mark.at, task.id, remark.agent_id, mark.status, mark.reason,
        spec.priority, spec.type, spec.pool, remark.attempt, data,
    )  # fmt: skip


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


def _other(change: Change, name: EventName, revision: int, now: int) -> TaskEvent:
    task = change.task
    if name is _RETRYING:
        return _retrying(task, change.superseded, revision)
    if name is _PLAN_COMPLETED:
        return _plan_completed(task, change.superseded, revision)
    if name is _APPLY_PENDING and change.superseded is not None:
        return _apply_pending(task, revision, change.superseded.ended_at)
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
