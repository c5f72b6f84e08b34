"""Keys and revisions for the changes of a batch, and the rows that follow from them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodelink_server.core.ports import Batch, Change, EventName
from nodelink_server.store import rows
from nodelink_server.store.blocks import Told
from nodelink_server.store.history import ENDS, ended_revision, revisions_of
from nodelink_server.store.statements import Values

# The events of moves that touch no more than rows.ADVANCE_COLUMNS of a granted task.
_ADVANCES = ENDS | {EventName.TASK_STARTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the last commit left to count on from. A number that was committed is never given again."""

    revision: int
    last_key: int
    commits: int
    audits: int
    audit_hash: bytes


def _by_attempt_and_rare() -> dict[tuple[bool, bool], Values]:
    return {(attempt, rare): [] for attempt in (False, True) for rare in (False, True)}


def _by_rare() -> dict[bool, Values]:
    return {False: [], True: []}


@dataclass(frozen=True, slots=True)
class Writes:
    """The values of a batch's rows, by the statement that writes them: which parts they have."""

    tasks: dict[tuple[bool, bool], Values] = field(default_factory=_by_attempt_and_rare)
    specs: dict[bool, Values] = field(default_factory=_by_rare)
    labels: Values = field(default_factory=list)
    results: dict[bool, Values] = field(default_factory=_by_rare)
    advanced: Values = field(default_factory=list)
    rewritten: Values = field(default_factory=list)
    superseded: list[tuple[Change, int]] = field(default_factory=list)


class Numbering:
    """Gives keys and revisions to the changes that are not refused, and makes their rows."""

    def __init__(self, batch: Batch, counters: Counters, refused: frozenset[int]) -> None:
        self.revision = counters.revision
        self.last_key = counters.last_key
        self.revisions: list[int] = []
        self.keys: list[int] = []
        self.told: list[Told] = []
        self.writes = Writes()
        self._now = batch.now
        for index, change in enumerate(batch.changes):
            self._take(change) if index not in refused else self._refuse()
        for notice in batch.notices:
            self.revision += 1
            self.told.append(Told(notice, self.revision))

    def _refuse(self) -> None:
        self.revisions.append(0)
        self.keys.append(0)

    def _take(self, change: Change) -> None:
        first = self.revision + 1
        self.revision += revisions_of(change)
        key = self._insert(change, first) if change.expected == 0 else self._update(change, first)
        if change.finished is not None:
            rare = rows.result_rare_part(change.finished)
            self.writes.results[bool(rare)] += rows.result_part(change.finished, key) + rare
        self.told.append(Told(change, first))
        self.revisions.append(self.revision)
        self.keys.append(key)

    def _insert(self, change: Change, first: int) -> int:
        self.last_key += 1
        key, revision = self.last_key, self.revision
        attempt, rare = rows.attempt_part(change, first), rows.rare_part(change, first)
        base = rows.base_part(change, key, first, revision, self._now)
        self.writes.tasks[bool(attempt), bool(rare)] += base + attempt + rare
        rare = rows.spec_rare_part(change)
        self.writes.specs[bool(rare)] += (key, change.task.payload or b"", *rare)
        if change.task.spec.metadata:
            self.writes.labels.extend(rows.label_rows(change, key))
        if not rows.is_plain(change):
            self.writes.rewritten.extend(rows.rewritten_row(change, key, revision, first, revision, self._now))
        return key

    def _update(self, change: Change, first: int) -> int:
        key, revision = change.task.key, self.revision
        if change.superseded is None and change.task.attempt is not None and _ADVANCES.issuperset(change.events):
            self.writes.advanced.extend(rows.advanced_row(change, first, revision, self._now))
            return key
        if change.superseded is not None:
            self.writes.superseded.append((change, ended_revision(change, first)))
        self.writes.rewritten.extend(rows.rewritten_row(change, key, change.expected, first, revision, self._now))
        return key
