"""The events of a commit: as one block of the database, and as a sequence that is made only if somebody looks at it.

A block does not keep events but what they are made of: a short line for each change, and for those that are alike but
for ids and moments, what they have in common, once. Both ways end in `events_of`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

from nodelink.plan import Plan
from nodelink.task import Execution, Finished, Outcome, Reason, TaskSpec, TaskStatus
from nodelink_server.core.attempt import Attempt, Failure, Planned, Stop, Superseded
from nodelink_server.core.ports import Change, EventName, LateEvents, Notice, TaskEvent
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import Remark, RemarkKind
from nodelink_server.store.history import event_of, events_of

Row = tuple[object, ...]

_encode = json.JSONEncoder(separators=(",", ":")).encode

OWN = 7
"""How many numbers and words a change has for itself, whose events are like others."""


class Told(NamedTuple):
    """A change or a notice that was committed, and the revision of its first event."""

    what: Change | Notice
    first: int


class CommittedEvents(LateEvents):
    """The events of a commit. Nobody may listen, so they are not made before they are asked for."""

    def __init__(self, told: Sequence[Told], now: int) -> None:
        self._told = told
        self._now = now
        self._named: dict[frozenset[str], Sequence[TaskEvent]] = {}

    def named(self, names: frozenset[str]) -> Sequence[TaskEvent]:
        """Those with these names. Made once for all who ask for the same."""
        found = self._named.get(names)
        if found is None:
            found = self._named[names] = [
                event for what, first in self._told for event in self._some(what, first, names)
            ]
        return found

    def _some(self, what: Change | Notice, first: int, names: frozenset[str]) -> Sequence[TaskEvent]:
        if isinstance(what, Notice):
            return [event_of(what, first, self._now)] if what.name in names else ()
        return () if names.isdisjoint(what.events) else events_of(what, first, self._now, names)

    @cached_property
    def _all(self) -> list[TaskEvent]:
        return [event for what, first in self._told for event in _events(what, first, self._now)]

    def __len__(self) -> int:
        return sum(len(what.events) if isinstance(what, Change) else 1 for what, _ in self._told)

    def __bool__(self) -> bool:
        return any(isinstance(what, Notice) or what.events for what, _ in self._told)

    def __iter__(self) -> Iterator[TaskEvent]:
        return iter(self._all)

    @overload
    def __getitem__(self, index: int) -> TaskEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[TaskEvent]: ...
    def __getitem__(self, index: int | slice) -> TaskEvent | list[TaskEvent]:
        if index == -1 and self._told:
            made = _events(*self._told[-1], self._now)
            return made[-1] if made else self._all[-1]
        return self._all[index]


def _events(what: Change | Notice, first: int, now: int) -> list[TaskEvent]:
    if isinstance(what, Change):
        return events_of(what, first, now)
    return [event_of(what, first, now)]


def encode_block(told: Sequence[Told], now: int) -> bytes:
    """A commit's events as they are kept."""
    alike: dict[Row, list[int | str | None]] = {}
    changes, notices = [], []
    for what, first in told:
        if isinstance(what, Notice):
            notices.append((first, *what))
        elif _is_usual(what):
            common = _common(what)
            own = alike.get(common)
            if own is None:
                own = alike[common] = []
            own += _own(what, first, now)
        else:
            changes.append(_line(what, first))
    parts = (now, changes, notices, [(*common, own) for common, own in alike.items()])
    return _encode(parts).encode()


def decode_block(block: bytes) -> list[TaskEvent]:
    """Events from what was kept. Blocks of older versions have nothing in common."""
    now, changes, notices, *alike = json.loads(block)
    told = [Told(_change(*line), first) for first, *line in changes]
    told += [Told(Notice(*notice), first) for first, *notice in notices]
    if alike:
        told += _told_alike(alike[0], now)
        told.sort(key=_first_of)
    return list(CommittedEvents(told, now))


def _is_usual(change: Change) -> bool:
    """Whether the events of a change tell nothing but what most do."""
    task, finished = change.task, change.finished
    if task.message or task.stop is not None or change.superseded is not None or change.remark is not None:
        return False
    return finished is None or (finished.exit_code is None and finished.signal is None)


def _common(change: Change) -> Row:
    """What the events of many changes of one commit have in common."""
    task, attempt = change.task, change.task.attempt
    spec = task.spec
    number, agent_id = (attempt.number, attempt.agent_id) if attempt is not None else (0, "")
    return (change.events, spec.type, spec.pool, spec.priority, task.status, task.reason, number, agent_id)


def _own(change: Change, first: int, now: int) -> tuple[int | str | None, ...]:
    """And what each has for itself. Moments are counted from the commit."""
    task, attempt = change.task, change.task.attempt
    ready_at, finished_at = task.ready_at, task.finished_at
    sent_at, started_at = (attempt.sent_at, attempt.started_at) if attempt is not None else (now, None)
    return (
        first,
        task.id,
        task.created_at - now,
        None if ready_at is None else ready_at - now,
        None if finished_at is None else finished_at - now,
        sent_at - now,
        None if started_at is None else started_at - now,
    )


def _told_alike(groups: Iterable[Sequence[Any]], now: int) -> Iterator[Told]:
    for events, type_, pool, priority, status, reason, number, agent_id, own in groups:
        common = (" ".join(events), type_, pool, priority, status, reason)
        each = iter(own)
        for first, task_id, created, ready, finished, sent, started in zip(*[each] * OWN, strict=True):
            attempt = [number, agent_id, sent + now, _moment(started, now)] if number else None
            moments = (created + now, _moment(ready, now), _moment(finished, now))
            yield Told(_change(common[0], task_id, *common[1:], *moments, attempt), first)


def _moment(since: int | None, now: int) -> int | None:
    return None if since is None else since + now


def _first_of(told: Told) -> int:
    return told.first


def _line(change: Change, first: int) -> Row:
    """What the events of a change are made of that tell more than most. What may be left out comes last."""
    task, attempt = change.task, change.task.attempt
    spec = task.spec
    stop, superseded, finished, remark = task.stop, change.superseded, change.finished, change.remark
    return (
        first, " ".join(change.events), task.id, spec.type, spec.pool, spec.priority,
        task.status, task.reason, task.created_at, task.ready_at, task.finished_at,
        (attempt.number, attempt.agent_id, attempt.sent_at, attempt.started_at) if attempt is not None else None,
        task.message,
        (stop.reason, stop.message, stop.asked_at) if stop is not None else None,
        _left_behind(superseded) if superseded is not None else None,
        (finished.exit_code, finished.signal) if finished is not None else None,
        (remark.kind, remark.at, remark.text, remark.attempt, remark.agent_id) if remark is not None else None,
    )  # fmt: skip


def _change(
    events: str,
    task_id: str,
    type_: str,
    pool: str,
    priority: int,
    status: str,
    reason: str,
    created_at: int,
    ready_at: int | None,
    finished_at: int | None,
    attempt: list[Any] | None,
    message: str = "",
    stop: list[Any] | None = None,
    superseded: int | list[Any] | None = None,
    finished: list[Any] | None = None,
    remark: list[Any] | None = None,
) -> Change:
    """A change that makes the same events as the one whose line this was, and is good for nothing else."""
    current = _attempt(*attempt) if attempt is not None else None
    task = Task(
        id=task_id,
        spec=TaskSpec(type=type_, pool=pool, priority=priority),
        execution=Execution.REPLAYABLE,
        created_at=created_at,
        status=TaskStatus(status),
        reason=Reason(reason),
        message=message,
        ready_at=ready_at,
        attempt=current,
        stop=Stop(reason=Reason(stop[0]), message=stop[1], grace_ms=0, asked_at=stop[2]) if stop else None,
        finished_at=finished_at,
    )
    return Change(
        task=task,
        expected=0,
        events=tuple(map(EventName, events.split())),
        finished=_finished(*finished) if finished is not None else None,
        superseded=_superseded(superseded) if superseded is not None else None,
        remark=_remark(*remark) if remark is not None else None,
    )


def _attempt(number: int, agent_id: str, sent_at: int, started_at: int | None) -> Attempt:
    return Attempt(number=number, fence=0, agent_id=agent_id, session=0, sent_at=sent_at, started_at=started_at)


def _finished(exit_code: int | None, signal: int | None) -> Finished:
    return Finished(outcome=Outcome.COMPLETED, exit_code=exit_code, signal=signal)


def _remark(kind: str, at: int, text: str, attempt: int, agent_id: str) -> Remark:
    return Remark(RemarkKind(kind), at, text, attempt=attempt, agent_id=agent_id)


def _left_behind(superseded: Superseded) -> int | tuple[object, ...]:
    """When an attempt was left behind; of one that failed or has planned, all that is told of it."""
    attempt, failure = superseded.attempt, superseded.failure
    if failure is None:
        return superseded.ended_at
    told = (superseded.ended_at, (attempt.number, attempt.agent_id, attempt.sent_at, attempt.started_at), failure)
    return told if superseded.plan is None else (*told, superseded.plan.plan[:4])


def _superseded(kept: int | list[Any]) -> Superseded:
    if isinstance(kept, int):
        return Superseded(attempt=_attempt(0, "", 0, None), state="", ended_at=kept)
    ended_at, attempt, failure, *plan = kept
    return Superseded(
        attempt=_attempt(*attempt),
        state="",
        ended_at=ended_at,
        failure=Failure(*failure),
        plan=Planned(Plan(*plan[0]), 0, 0) if plan else None,
    )
