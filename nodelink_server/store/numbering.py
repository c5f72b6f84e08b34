"""Keys and revisions for the changes of a batch, and the rows and events that follow from them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodelink_server.core.ports import Batch, Change, EventName, TaskEvent
from nodelink_server.store import rows
from nodelink_server.store.history import ended_revision, event_of, events_of, revisions_of, steps_of
from nodelink_server.store.statements import Part

# Events that belong to moves which touch no more than rows.ADVANCE_COLUMNS of a granted task.
_ADVANCES = frozenset(
    {
        EventName.TASK_STARTED,
        EventName.TASK_COMPLETED,
        EventName.TASK_FAILED,
        EventName.TASK_TIMEOUT,
        EventName.TASK_CANCELLED,
        EventName.TASK_LOST,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the last commit left to count on from. A number that was committed is never given again."""

    revision: int
    last_key: int
    commits: int
    audits: int
    audit_hash: bytes


@dataclass(slots=True)
class Writes:
    """The rows of a batch, by the statement that writes them."""

    tasks: list[tuple[Part, ...]] = field(default_factory=list)
    specs: list[tuple[Part, ...]] = field(default_factory=list)
    results: list[tuple[Part, ...]] = field(default_factory=list)
    advanced: list[Part] = field(default_factory=list)
    rewritten: list[Part] = field(default_factory=list)
    superseded: list[tuple[Change, int]] = field(default_factory=list)


class Numbering:
    """Gives keys and revisions to the changes that are not refused, and makes their rows and events."""

    def __init__(self, batch: Batch, counters: Counters, refused: frozenset[int]) -> None:
        self.revision = counters.revision
        self.last_key = counters.last_key
        self.revisions: list[int] = []
        self.keys: list[int] = []
        self.events: list[TaskEvent] = []
        self.writes = Writes()
        self._now = batch.now
        for index, change in enumerate(batch.changes):
            self._take(change) if index not in refused else self._refuse()
        for notice in batch.notices:
            self.revision += 1
            self.events.append(event_of(notice, self.revision, batch.now))

    def _refuse(self) -> None:
        self.revisions.append(0)
        self.keys.append(0)

    def _take(self, change: Change) -> None:
        first = self.revision + 1
        self.revision += revisions_of(change)
        key = self._insert(change, first) if change.expected == 0 else self._update(change, first)
        if change.finished is not None:
            self.writes.results.append(rows.result_parts(change.finished, key))
        self.revisions.append(self.revision)
        self.keys.append(key)
        self.events.extend(events_of(change, first, self._now))

    def _insert(self, change: Change, first: int) -> int:
        self.last_key += 1
        steps = steps_of(change, first)
        base = rows.base_part(change, self.last_key, steps, self.revision, self._now)
        self.writes.tasks.append((base, rows.attempt_part(change, steps), rows.rare_part(change, steps)))
        self.writes.specs.append(rows.spec_parts(change, self.last_key))
        return self.last_key

    def _update(self, change: Change, first: int) -> int:
        if change.superseded is None and change.task.attempt is not None and _ADVANCES.issuperset(change.events):
            self.writes.advanced.append(rows.advanced_row(change, first, self.revision, self._now))
            return change.task.key
        if change.superseded is not None:
            self.writes.superseded.append((change, ended_revision(change, first)))
        self.writes.rewritten.append(rows.rewritten_row(change, first, self.revision, self._now))
        return change.task.key
