"""The journal beside the event loop: one sync for what has gathered, and trouble that is told and goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nodelink.task import AttemptRef, Execution, Finished, Outcome, TaskRequest, TaskResponse, TaskSpec
from nodelink_agent.core.records import EndRecord, StartRecord
from nodelink_agent.journal.disk import Disk
from nodelink_agent.journal.file import JournalFile
from nodelink_agent.journal.journal import Journal
from tests.support.failing_disk import FailingDisk


def begun(number: int) -> StartRecord:
    ref = AttemptRef(str(number), 1, number)
    request = TaskRequest(ref=ref, spec=TaskSpec(type="shell"), payload=b"", execution=Execution.ONCE)
    return StartRecord(request, "spawner", 0.0)


def over(number: int) -> EndRecord:
    return EndRecord(TaskResponse(AttemptRef(str(number), 1, number), Finished(outcome=Outcome.COMPLETED)))


def known(directory: Path) -> list[str]:
    return [attempt.request.ref.task_id for attempt in JournalFile(Disk(directory), next_session=1).known]


class Told:
    """What a journal says of its writing."""

    def __init__(self, journal: Journal) -> None:
        self.words: list[tuple[int, bool, bool]] = []
        self._news = asyncio.Event()
        journal.on_written = self._hear

    def _hear(self, upto: int, durable: bool, failing: bool) -> None:
        self.words.append((upto, durable, failing))
        self._news.set()

    async def until(self, *word: object) -> None:
        """Return when this has been said."""
        async with asyncio.timeout(10):
            while word not in self.words:
                self._news.clear()
                await self._news.wait()


def make(disk: FailingDisk, *, reserve: int = 0) -> Journal:
    return Journal(JournalFile(disk, next_session=1, reserve_bytes=reserve), retry_seconds=0.01)


async def test_what_gathers_during_one_sync_is_made_durable_by_the_next(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    journal = make(disk)
    told = Told(journal)
    before = disk.syncs
    async with journal.open():
        journal.append([begun(1)])
        await told.until(1, True, False)
        for number in range(2, 50):
            journal.append([begun(number)])
        await told.until(49, True, False)
    assert disk.syncs - before == 2
    assert known(tmp_path) == [str(number) for number in range(1, 50)]


async def test_what_is_told_as_durable_is_on_the_disk_by_then(tmp_path: Path) -> None:
    journal = make(FailingDisk(tmp_path))
    found: list[list[str]] = []
    journal.on_written = lambda _upto, _durable, _failing: found.append(known(tmp_path))
    async with journal.open():
        journal.append([begun(1), begun(2)])
        await journal.settled()
    assert found == [["1", "2"]]


async def test_trouble_is_told_and_tried_again_until_it_is_over(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    journal = make(disk)
    told = Told(journal)
    disk.room = 0
    async with journal.open():
        journal.append([begun(1)])
        await told.until(1, False, True)
        journal.append([begun(2)])
        await told.until(2, False, True)
        disk.room = None
        await told.until(2, True, False)
    assert known(tmp_path) == ["1", "2"]
    assert told.words.count((2, True, False)) == 1


async def test_with_the_reserve_in_use_ends_are_durable_and_the_trouble_lasts_until_it_is_back(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    journal = make(disk, reserve=10_000)
    told = Told(journal)
    async with journal.open():
        journal.append([begun(1)])
        await told.until(1, True, False)
        disk.room = 0
        journal.append([over(1)])
        await told.until(2, True, True)
        disk.room = None
        await told.until(2, True, False)


async def test_what_is_left_in_the_end_is_written(tmp_path: Path) -> None:
    journal = make(FailingDisk(tmp_path))
    async with journal.open():
        journal.append([begun(1)])
    assert known(tmp_path) == ["1"]


async def test_a_disk_that_stays_full_does_not_keep_the_agent_from_leaving(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    journal = make(disk)
    disk.room = 0
    async with asyncio.timeout(10), journal.open():
        journal.append([begun(1)])
        await journal.settled()
