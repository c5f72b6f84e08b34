"""What has been committed, counted: for the metrics since the start, and for statistics by the minute.

A minute's counts are in memory at once, and in the database about a second later: the rows ride in commits that are
made anyway. Each is written with all that its minute holds so far, so that writing it again does no harm. What a kill
can lose is what was counted since the last beat.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from nodelink.task import TaskSpec, TaskStatus
from nodelink_server.core.ports import Change, Clock
from nodelink_server.core.statistics import MINUTE_MS, Counts, StatsKey, StatsRow
from nodelink_server.core.tally import OTHER, SECONDS, Buckets, Tally

BEAT_SECONDS = 1.0
MOST_PER_COMMIT = 500
MOST_CELLS = 5_000
"""So many kinds and agents are told apart in one minute; beyond that an agent's tasks are of one kind."""
SETBACK_BITS = 20

_SENT = TaskStatus.SENT
_NAMES = {status: status.value for status in TaskStatus}
_BOUNDS = tuple(map(float, SECONDS))


class _Cell:
    """The counts of one row, and whether they have changed since the row was last taken to be written.

    `kind` is what the metrics call its tasks; None: they are of many kinds.
    """

    __slots__ = ("counts", "is_due", "key", "kind")

    def __init__(self, key: StatsKey, kind: tuple[str, str] | None) -> None:
        self.key = key
        self.kind = kind
        self.counts = Counts()
        self.is_due = False


class Accounts:
    """Counts changes, and hands out the rows that are to be written. Only the loop may touch it.

    The minute is that of the commit. When the clock is set back a new series begins, so that a minute that comes twice
    is counted in two rows.
    """

    def __init__(self, *, clock: Clock, tally: Tally) -> None:
        self._clock = clock
        self._tally = tally
        self._minute = 0
        self._series = 0
        self._cells: dict[tuple[str, str, str], _Cell] = {}
        self._due: list[_Cell] = []
        self._leaving: deque[_Cell] = deque()
        self._in_commit: list[_Cell] = []
        self._next_beat = clock.monotonic() + BEAT_SECONDS

    def restore(self, start_number: int) -> None:
        """Begin a series that no earlier start has used."""
        self._series = start_number << SETBACK_BITS

    # -- counting -----------------------------------------------------------------------------------------------------

    def count(self, changes: Sequence[Change]) -> None:
        """Count what a commit has made durable."""
        self._turn()
        created: dict[int, _Cell] = {}
        for change in changes:
            task, attempt = change.task, change.task.attempt
            if change.expected == 0:
                cell = created.get(id(task.spec))  # many tasks of a commit are asked for alike
                if cell is None:
                    cell = created[id(task.spec)] = self._cell(task.spec, "")
                cell.counts.created += 1
            if change.superseded is not None and not change.superseded.has_failed:
                self._cell(task.spec, change.superseded.attempt.agent_id).counts.returned += 1
            if attempt is not None and task.status is _SENT:
                self._cell(task.spec, attempt.agent_id).counts.assigned += 1
            elif task.finished_at is not None:
                self._end(change, task.finished_at)

    def _end(self, change: Change, finished_at: int) -> None:
        task, attempt, finished, tally = change.task, change.task.attempt, change.finished, self._tally
        spec, status = task.spec, _NAMES[task.status]
        cell = self._cell(spec, attempt.agent_id if attempt is not None else "")
        kind = cell.kind or tally.kind(spec.type, spec.pool)
        counts = cell.counts
        counts.finished[status] = counts.finished.get(status, 0) + 1
        tally.finished[(*kind, status)] += 1
        _observe((finished_at - task.created_at) / 1000, counts.total, tally.total_seconds[kind])
        if attempt is None:
            return
        if finished is None:
            counts.returned += 1
            return
        queued_since = task.ready_at if task.ready_at is not None else task.created_at
        _observe(finished.run_seconds, counts.run, tally.run_seconds[kind])
        _observe((attempt.sent_at - queued_since) / 1000, counts.queue, tally.queue_seconds[kind])

    def _cell(self, spec: TaskSpec, agent_id: str) -> _Cell:
        """The counts of this minute, which are about to change."""
        cell = self._cells.get((spec.type, spec.pool, agent_id))
        if cell is None:
            cell = self._open(spec, agent_id)
        if not cell.is_due:
            cell.is_due = True
            self._due.append(cell)
        return cell

    def _open(self, spec: TaskSpec, agent_id: str) -> _Cell:
        is_full = len(self._cells) >= MOST_CELLS
        kind = OTHER if is_full else self._tally.kind(spec.type, spec.pool)
        name = (*kind, agent_id)
        cell = self._cells.get(name)
        if cell is None:
            key = StatsKey(self._minute, self._series, *name)
            cell = self._cells[name] = _Cell(key, None if is_full else kind)
        return cell

    def _turn(self) -> None:
        """Begin a new minute when the clock says so."""
        minute = self._clock.now() // MINUTE_MS * MINUTE_MS
        if minute == self._minute:
            return
        if minute < self._minute:
            self._series += 1
        self._minute, self._cells = minute, {}

    # -- writing ------------------------------------------------------------------------------------------------------

    def take(self) -> Sequence[StatsRow]:
        """The rows that the next commit is to write: none, until a second has passed since the last were taken.

        After each call `written` or `not_written` says what became of them.
        """
        if not self._leaving and not self._begin_beat():
            return ()
        count = min(MOST_PER_COMMIT, len(self._leaving))
        self._in_commit = [self._leaving.popleft() for _ in range(count)]
        for cell in self._in_commit:
            cell.is_due = False
        return [StatsRow(cell.key, cell.counts.copy()) for cell in self._in_commit]

    def written(self) -> None:
        """What was taken is durable."""
        self._in_commit = []

    def not_written(self) -> None:
        """What was taken is not durable: it goes again."""
        failed, self._in_commit = self._in_commit, []
        for cell in failed:
            if not cell.is_due:
                cell.is_due = True
                self._due.append(cell)

    def hurry(self) -> None:
        """Let everything be written now."""
        self._next_beat = self._clock.monotonic()

    def _begin_beat(self) -> bool:
        """Whether it is time to write something."""
        now = self._clock.monotonic()
        if now < self._next_beat:
            return False
        self._next_beat = now + BEAT_SECONDS
        self._turn()
        self._leaving.extend(self._due)
        self._due.clear()
        return bool(self._leaving)

    # -- reading ------------------------------------------------------------------------------------------------------

    def unwritten(self) -> list[StatsRow]:
        """The rows whose last values are not durable yet. Their counts go on growing."""
        cells = {cell.key: cell for cells in (self._due, self._leaving, self._in_commit) for cell in cells}
        return [StatsRow(key, cell.counts) for key, cell in cells.items()]

    def settled(self) -> tuple[int, int]:
        """A minute and a series: rows before the one and not beyond the other are never written again."""
        return min([self._minute, *(row.key.start for row in self.unwritten())]), self._series


def _observe(seconds: float, minute: Buckets, since_start: Buckets) -> None:
    """Count a duration in two histograms of `SECONDS`. Less than nothing is how a clock that was set back shows."""
    if seconds < 0:
        seconds = 0.0
    place = bisect_left(_BOUNDS, seconds)
    minute.counts[place] += 1
    minute.sum += seconds
    since_start.counts[place] += 1
    since_start.sum += seconds
