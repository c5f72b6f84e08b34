"""What is committed is counted, whatever the order, and is written a second later, however often that fails."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from nodelink.errors import StoreUnavailable
from nodelink.task import Finished, Outcome, TaskStatus
from nodelink_server.core import accounts as bounds
from nodelink_server.core.accounts import Accounts
from nodelink_server.core.assembly import Options, Rooms
from nodelink_server.core.ports import Batch, Change, EventName
from nodelink_server.core.statistics import (
    HOUR_MS,
    MINUTE_MS,
    Counts,
    Grouping,
    StatsGroup,
    StatsKey,
    StatsQuery,
    StatsRow,
)
from nodelink_server.core.tally import MOST_KINDS, Tally
from nodelink_server.core.task import Task, stamp
from tests.server.store.lives import accept, cancel, give_back, grant, lose, new, settle, start, stop, waiting
from tests.support.clock import EPOCH_MS, ManualClock
from tests.support.core_parts import Database, make_task

ENDS = {f"task.{status}" for status in ("completed", "failed", "timeout", "cancelled", "lost")}


class Books:
    """Accounts beside a database, with the commits made by hand."""

    def __init__(self, database: Database | None = None, *, start_number: int = 1) -> None:
        self.database = database or Database()
        self.clock = ManualClock()
        self.rooms: Rooms = Rooms(self.database.store(), self.clock, lambda: "", Options())
        self.accounts = self.rooms.accounts
        self.store = self.database.store()
        self.accounts.restore(start_number)

    async def commit(self, *changes: Change) -> Sequence[StatsRow]:
        """What the ledger does. Returns the rows of statistics that rode in it."""
        rows = self.accounts.take()
        try:
            receipt = await self.store.apply(Batch(now=0, control_ms=0, changes=changes, statistics=rows))
        except StoreUnavailable:
            self.accounts.not_written()
            raise
        self.accounts.written()
        for change, revision, key in zip(changes, receipt.revisions, receipt.keys, strict=True):
            assert revision
            stamp(change.task, key=key, revision=revision)
        self.accounts.count(changes)
        return rows

    async def beat(self) -> Sequence[StatsRow]:
        """A second passes, and the empty commit that comes then."""
        self.clock.advance(1)
        return await self.commit()

    async def groups(self, by: Grouping | None = None) -> dict[str, StatsGroup]:
        """Everything that was ever counted."""
        stats = await self.rooms.reports.stats(StatsQuery(by=by, since=0, until=EPOCH_MS + 10**10))
        return {group.key: group for bucket in stats.buckets for group in bucket.groups}

    def stored(self, minute: int | None = None) -> int:
        """How many created tasks the database knows of, in all or in one minute."""
        kept = self.database.disk.minutes.items()
        return sum(counts.created for key, counts in kept if minute is None or key.start == minute)


def this_minute(books: Books) -> int:
    return books.clock.now() // MINUTE_MS * MINUTE_MS


# -- the sums ---------------------------------------------------------------------------------------------------------


def _next(task: Task, chance: random.Random, now: int) -> Change:
    """One of the things that can happen to a task."""
    if task.revision == 0:
        return accept(task)
    if task.status is TaskStatus.PENDING:
        agent = f"agent{chance.randrange(3)}"
        return cancel(task, now=now) if chance.random() < 0.1 else grant(task, agent_id=agent, now=now)
    if task.status is TaskStatus.CANCELLING:
        return settle(task, now=now)
    deeds = [settle(task, now=now), settle(task, now=now), lose(task, now=now), stop(task, now=now)]
    if task.status is TaskStatus.SENT:
        deeds += [start(task, at=now), give_back(task, now=now)]
    return chance.choice(deeds)


async def _live_through(books: Books, chance: random.Random, tasks: list[Task]) -> None:
    """Bring all tasks to their ends, in commits of random sizes, some of which fail."""
    while tasks:
        chance.shuffle(tasks)
        size = chance.randrange(1, 8)
        moved, rest = tasks[:size], tasks[size:]
        changes = [_next(task, chance, books.clock.now()) for task in moved]
        books.database.failing = {"apply"} if chance.random() < 0.2 else set()
        try:
            await books.commit(*changes)
        except StoreUnavailable:
            continue
        finally:
            books.clock.advance(chance.choice([0.0, 0.01, 0.5, 3, 70]))
        tasks = rest + [change.task for change in changes if not change.task.is_terminal]
    books.database.failing = set()


async def _told(books: Books) -> dict[str, Counter[tuple[str, str]]]:
    """What the histories of all tasks say, by grouping and (group, deed)."""
    told: dict[str, Counter[tuple[str, str]]] = {by: Counter() for by in ("", *Grouping)}
    for record in books.database.disk.rows.values():
        agent = with_result = ""
        for event in await books.store.history(record.task.id):
            deeds = [(event.name, event.agent_id)]
            if event.name == EventName.TASK_PENDING and agent:
                deeds = [("returned", agent)]
            agent, with_result = event.agent_id, event.name
            for deed, of in deeds:
                for by, group in (("", ""), ("agent", of), ("pool", event.pool), ("type", event.type)):
                    told[by][group, deed] += 1
        assert with_result in ENDS
    return told


def _counted(groups: dict[str, StatsGroup]) -> Counter[tuple[str, str]]:
    counted: Counter[tuple[str, str]] = Counter()
    for key, group in groups.items():
        counted[key, "task.created"] += group.created
        counted[key, "task.sent"] += group.assigned
        counted[key, "returned"] += group.returned
        for status, count in group.finished.items():
            counted[key, f"task.{status}"] += count
    return counted


@pytest.mark.parametrize("seed", range(25))
async def test_the_sums_are_what_the_histories_say_whatever_the_order_of_commits(seed: int) -> None:
    chance, books = random.Random(seed), Books()
    tasks = [
        waiting(f"t{n}", now=EPOCH_MS, type=chance.choice(["echo", "shell"]), pool=chance.choice(["default", "big"]))
        for n in range(40)
    ]
    await _live_through(books, chance, tasks)

    told = await _told(books)
    for by in (None, *Grouping):
        counted = _counted(await books.groups(by))
        for deed in ("task.created", "task.sent", "returned", *ENDS):
            wanted = {group: n for (group, named), n in told[by or ""].items() if named == deed}
            found = {group: n for (group, named), n in counted.items() if named == deed and n}
            assert found == wanted, (by, deed)


async def test_durations_are_counted_once_for_each_result() -> None:
    books = Books()
    task = waiting("t1", now=EPOCH_MS)
    await books.commit(accept(task))
    granted = grant(task, now=EPOCH_MS + 2_000)
    await books.commit(granted)
    await books.commit(settle(granted.task, now=EPOCH_MS + 5_000))

    [group] = (await books.groups(Grouping.TYPE)).values()

    assert (group.queue_seconds.count, group.queue_seconds.mean) == (1, 2.0)
    assert (group.total_seconds.count, group.total_seconds.mean) == (1, 5.0)
    assert group.run_seconds.count == 1
    assert (group.assigned, group.returned, dict(group.finished)) == (1, 0, {"completed": 1})


async def test_what_ends_without_a_result_was_handed_out_in_vain() -> None:
    books = Books()
    task = waiting("t1", now=EPOCH_MS)
    await books.commit(accept(task))
    granted = grant(task, now=EPOCH_MS)
    await books.commit(granted)
    ended = settle(granted.task, now=EPOCH_MS)
    await books.commit(Change(task=ended.task, expected=ended.expected, events=ended.events))

    group = (await books.groups(Grouping.AGENT))["agent-a"]

    assert (group.assigned, group.returned, group.run_seconds.count) == (1, 1, 0)


def test_the_metrics_count_the_same_since_the_start() -> None:
    tally = Tally()
    accounts = Accounts(clock=ManualClock(), tally=tally)
    task = make_task(status=TaskStatus.SENT, ready_at=EPOCH_MS - 4_000)
    for _ in range(2):
        finished = Finished(outcome=Outcome.COMPLETED, run_seconds=3)
        accounts.count([settle(task, finished, now=EPOCH_MS + 9_000)])

    [(_, counts)] = accounts.unwritten()
    kind = ("echo", "default")

    for minute, since_start, total in (
        (counts.queue, tally.queue_seconds[kind], 8),
        (counts.run, tally.run_seconds[kind], 6),
        (counts.total, tally.total_seconds[kind], 18),
    ):
        assert minute.sum == since_start.sum == total
        assert minute.counts == since_start.counts
    assert tally.finished == {(*kind, "completed"): 2}


def test_a_task_that_ended_before_it_came_took_no_time() -> None:
    accounts = Accounts(clock=ManualClock(), tally=Tally())
    accounts.count([settle(make_task(status=TaskStatus.SENT), now=EPOCH_MS - 3_600_000)])

    [(_, counts)] = accounts.unwritten()

    assert (counts.total.counts[0], counts.total.sum) == (1, 0.0)


# -- the writing ------------------------------------------------------------------------------------------------------


async def test_rows_ride_a_second_later_and_only_if_something_changed() -> None:
    books = Books()
    await books.beat()
    await books.commit(accept(waiting("t1")))
    assert not await books.commit()

    assert [row.counts.created for row in await books.beat()] == [1]
    assert not await books.beat()
    assert books.stored() == 1


async def test_a_row_is_written_with_all_that_its_minute_holds() -> None:
    books = Books()
    for name in ("t1", "t2", "t3"):
        await books.beat()
        await books.commit(accept(waiting(name)))
    await books.beat()

    assert books.stored() == 3
    assert len(books.database.disk.minutes) == 1


async def test_what_could_not_be_written_goes_again() -> None:
    books = Books()
    await books.commit(accept(waiting("t1")))
    books.database.failing = {"apply"}
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await books.beat()
    books.database.failing = set()

    await books.beat()

    assert books.stored() == 1
    assert not books.accounts.unwritten()


async def test_what_is_not_written_yet_is_told_from_memory() -> None:
    books = Books()
    await books.commit(accept(waiting("t1")))
    await books.beat()
    await books.commit(accept(waiting("t2")))

    assert (await books.groups())[""].created == 2
    assert books.stored() == 1


async def test_a_row_that_is_being_written_is_counted_once() -> None:
    books = Books()
    await books.commit(accept(waiting("t1")))
    books.clock.advance(1)
    rows = books.accounts.take()
    assert (await books.groups())[""].created == 1

    await books.store.apply(Batch(now=0, control_ms=0, statistics=rows))
    assert (await books.groups())[""].created == 1

    books.accounts.written()
    assert (await books.groups())[""].created == 1


async def test_many_rows_are_spread_over_commits() -> None:
    books = Books()
    count = 2 * bounds.MOST_PER_COMMIT // 3
    for agent in range(2):
        tasks = [waiting(f"t{agent}-{n}") for n in range(count)]
        await books.commit(*map(accept, tasks))
        await books.commit(*[grant(task, agent_id=f"agent{agent}-{n}") for n, task in enumerate(tasks)])

    first, second, third = await books.beat(), await books.commit(), await books.commit()

    assert (len(first), len(second), len(third)) == (bounds.MOST_PER_COMMIT, 2 * count + 1 - len(first), 0)


async def test_a_minute_that_is_over_is_left_alone() -> None:
    books = Books()
    minute = this_minute(books)
    await books.commit(accept(waiting("t1")))
    books.clock.advance(60)
    await books.commit(accept(waiting("t2")))
    await books.beat()

    assert books.stored(minute) == 1
    assert books.stored(this_minute(books)) == 1


# -- restarts and clocks ----------------------------------------------------------------------------------------------


async def test_a_restart_within_a_minute_adds_to_it() -> None:
    books = Books()
    await books.commit(accept(waiting("t1")))
    await books.beat()

    again = Books(books.database, start_number=2)
    await again.commit(accept(waiting("t2")))
    await again.beat()

    assert (await again.groups())[""].created == 2


async def test_a_kill_loses_what_was_not_written_and_nothing_else() -> None:
    books = Books()
    await books.commit(accept(waiting("t1")))
    await books.beat()
    await books.commit(accept(waiting("t2")))

    again = Books(books.database, start_number=2)

    assert (await again.groups())[""].created == 1


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_a_clock_that_is_set_does_no_harm(seconds: int) -> None:
    books = Books()
    for n in range(150):
        if n in (50, 100):
            books.clock.jump(seconds if n == 50 else -seconds)
        await books.commit(accept(waiting(f"t{n}")))
        books.clock.advance(5)
        await books.commit()
    await books.beat()

    assert books.stored() == 150
    assert (await books.groups())[""].created == 150


async def test_a_minute_that_comes_twice_is_not_made_coarser_while_it_may_grow() -> None:
    books = Books()
    await books.commit(accept(waiting("t1")))
    await books.beat()
    books.clock.jump(-60)
    await books.commit(accept(waiting("t2")))
    await books.beat()
    minute, series = books.accounts.settled()

    assert minute == this_minute(books)
    assert {key.series for key in books.database.disk.minutes} == {series - 1, series}


async def test_rows_on_their_way_are_not_settled() -> None:
    books = Books()
    minute = this_minute(books)
    await books.commit(accept(waiting("t1")))
    books.clock.advance(600)
    rows = books.accounts.take()
    assert [row.key.start for row in rows] == [minute]
    assert books.accounts.settled()[0] == minute

    books.accounts.written()
    assert books.accounts.settled()[0] == this_minute(books)


# -- bounds -----------------------------------------------------------------------------------------------------------


def _accepted(type: str) -> Change:
    return accept(new("t", type=type))


def test_beyond_so_many_kinds_tasks_are_counted_as_others() -> None:
    accounts = Accounts(clock=ManualClock(), tally=Tally())
    accounts.count([_accepted(f"type{n}") for n in range(MOST_KINDS + 50)])

    rows = {row.key.type: row.counts.created for row in accounts.unwritten()}

    assert len(rows) == MOST_KINDS + 1
    assert rows["other"] == 50


def test_beyond_so_many_rows_only_agents_are_told_apart() -> None:
    accounts = Accounts(clock=ManualClock(), tally=Tally())
    agents = bounds.MOST_CELLS + 10
    for type in ("echo", "shell"):
        accounts.count([grant(make_task(type=type), agent_id=f"agent{n}") for n in range(agents)])

    rows = accounts.unwritten()

    assert sum(row.counts.assigned for row in rows) == 2 * agents
    assert len(rows) == bounds.MOST_CELLS + agents


# -- old rows ---------------------------------------------------------------------------------------------------------


def _put(books: Books, start: int, created: int = 1) -> None:
    counts = Counts()
    counts.created = created
    books.database.disk.minutes[StatsKey(start, 1, "echo", "default", "")] = counts


async def test_a_sweep_makes_whole_hours_of_what_is_two_days_old() -> None:
    books = Books()
    await books.commit()
    now = EPOCH_MS // HOUR_MS * HOUR_MS + 30 * MINUTE_MS
    books.clock.jump((now - EPOCH_MS) / 1000)
    await books.beat()
    for hours in (47.2, 48.2, 48.8, 49.2):
        _put(books, now - int(hours * HOUR_MS) // MINUTE_MS * MINUTE_MS)

    await books.rooms.archive.sweep()

    disk = books.database.disk
    assert sorted((now - key.start) / HOUR_MS for key in disk.minutes) == [47.2, 48.2]
    assert {key.start: counts.created for key, counts in disk.hours.items()} == {
        now - 49 * HOUR_MS - 30 * MINUTE_MS: 2,
    }


async def test_a_sweep_forgets_what_is_older_than_the_retention() -> None:
    books = Books()
    await books.beat()
    month = int(Options().retention * 1000)
    _put(books, this_minute(books) - month - 2 * HOUR_MS)
    _put(books, this_minute(books) - month + 2 * HOUR_MS)

    await books.rooms.archive.sweep()

    assert len(books.database.disk.hours) == 1
    assert not books.database.disk.minutes
