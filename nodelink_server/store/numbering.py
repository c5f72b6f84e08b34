"""Keys and revisions for the changes of a batch, and the rows that follow from them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodelink.task import TaskStatus
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Batch, Change, EventName, Notice
from nodelink_server.store import rows
from nodelink_server.store.blocks import Told
from nodelink_server.store.history import ENDS, noted, revisions_of
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
    """Changes that leave an attempt behind, each with the revision of its first event."""
    frees: Values = field(default_factory=list)
    takes: Values = field(default_factory=list)
    uses: Values = field(default_factory=list)
    unkeyed: Values = field(default_factory=list)
    keyed: Values = field(default_factory=list)
    given_up: Values = field(default_factory=list)
    claims: Values = field(default_factory=list)
    remarks: Values = field(default_factory=list)


class Numbering:
    """Gives keys and revisions to the changes that are not refused, and makes their rows."""

    def __init__(self, batch: Batch, counters: Counters, refused: frozenset[int]) -> None:
        self.revision = counters.revision
        self.last_key = counters.last_key
        self.revisions: list[int] = []
        self.keys: list[int] = []
        self.told: list[Told] = []
        self.writes = Writes()
        self.claims_too_early = False
        """Whether a unique key is claimed before the one that has it has ended."""
        self._taken: set[Hold] = set()
        self._claimed: set[str] = set()
        self._asks_nothing_rare: dict[int, bool] = {}
        self._now = batch.now
        for index, change in enumerate(batch.changes):
            self._take(change) if index not in refused else self._refuse()
        for notice in batch.notices:
            self.tell(notice)

    def tell(self, notice: Notice) -> None:
        """Give a notice its revision."""
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
            self.writes.results[bool(rare)] += rows.result_part(change.finished, key, change.task.grants) + rare
        if change.takes or change.frees or change.uses:
            self._hold(change, key)
        spec = change.task.spec
        if spec.limits or spec.rates or spec.workspace:
            self._queue_by_keys(change, key)
        if spec.unique_key:
            self._hand_on(change, key)
        if change.remark is not None:
            self.writes.remarks.extend(rows.remark_row(noted(change, first), key))
        self.told.append(Told(change, first))
        self.revisions.append(self.revision)
        self.keys.append(key)

    def _insert(self, change: Change, first: int) -> int:
        self.last_key += 1
        key, revision = self.last_key, self.revision
        is_usual = self._is_usual(change)
        attempt, rare = rows.attempt_part(change, first), () if is_usual else rows.rare_part(change, first)
        base = rows.base_part(change, key, first, revision, self._now)
        self.writes.tasks[bool(attempt), bool(rare)] += base + attempt + rare
        rare = () if is_usual else rows.spec_rare_part(change)
        self.writes.specs[bool(rare)] += (key, change.task.payload or b"", *rare)
        if change.task.spec.metadata:
            self.writes.labels.extend(rows.label_rows(change, key))
        if not rows.is_plain(change):
            self.writes.rewritten.extend(rows.rewritten_row(change, key, revision, first, revision, self._now))
        return key

    def _is_usual(self, change: Change) -> bool:
        """Whether a new task has nothing of what few have. What is asked alike is looked at once."""
        spec = change.task.spec
        asks_nothing_rare = self._asks_nothing_rare.get(id(spec))
        if asks_nothing_rare is None:
            asks_nothing_rare = self._asks_nothing_rare[id(spec)] = rows.asks_nothing_rare(spec)
        return asks_nothing_rare and rows.has_nothing_rare(change)

    def _hold(self, change: Change, key: int) -> None:
        """Free places, take places. All are freed before any is taken, so what was taken before is not freed: if the
        one before could take it, it was not this one's.
        """
        for hold in change.frees:
            if hold not in self._taken:
                self.writes.frees.extend((*hold, key))
        for hold in change.takes:
            self._taken.add(hold)
            self.writes.takes.extend((*hold, key))
        for use in change.uses:
            self.writes.uses.extend(use)

    def _hand_on(self, change: Change, key: int) -> None:
        """Claim a unique key, or give it up; who ends has it no more. All are given up before any is claimed."""
        if not change.expected:
            self.writes.claims.extend((key, change.task.spec.unique_key))
            if change.claims:
                self._claimed.add(change.claims)
        elif change.yields in self._claimed:
            self.claims_too_early = True
        if change.task.given_up_key:
            self.writes.given_up.append(key)

    def _queue_by_keys(self, change: Change, key: int) -> None:
        """Let a task be found by its keys as long as it waits."""
        if change.expected:
            self.writes.unkeyed.append(key)
        if change.task.status is TaskStatus.PENDING:
            self.writes.keyed.extend(rows.key_rows(change.task, key))

    def _update(self, change: Change, first: int) -> int:
        key, revision = change.task.key, self.revision
        if _is_advance(change):
            self.writes.advanced.extend(rows.advanced_row(change, first, revision, self._now))
            return key
        if change.superseded is not None:
            self.writes.superseded.append((change, first))
        self.writes.rewritten.extend(rows.rewritten_row(change, key, change.expected, first, revision, self._now))
        return key


def _is_advance(change: Change) -> bool:
    """Whether a change sets no more than the start and the end of an attempt usually do."""
    task = change.task
    has_attempt = task.attempt is not None and task.plan is None
    usual = change.superseded is None and change.remark is None and has_attempt and not task.deaths
    return usual and bool(change.events) and _ADVANCES.issuperset(change.events)
