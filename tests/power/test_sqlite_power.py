"""The power fails while a server commits: whatever was acknowledged is there afterwards, and nothing is half there.

A real store is watched by strace; from what it wrote and synced, disks are made as a power cut may leave them. More of
them: NODELINK_POWER_CUTS=50000 (the seeds go on from there), NODELINK_POWER_SEED=1000 for others.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from nodelink.errors import StoreError
from nodelink_server.core.ports import Batch
from nodelink_server.store.sql import open_store
from tests.machines.steps import START_MS, new_task, submit
from tests.power.crashes import Crash, Recording, crashes, record
from tests.power.durable_file import Truncate, Write
from tests.power.states import check_agreement, state_of
from tests.power.trace import Changed, Created, Event, Marked, Removed, SyncEnded

pytestmark = [pytest.mark.strace, pytest.mark.timeout(300)]

CUTS = int(os.environ.get("NODELINK_POWER_CUTS", "500"))
SEED = int(os.environ.get("NODELINK_POWER_SEED", "1"))
PARTS = 2
COMMITS = 120
DATABASES = {"tasks": "nodelink.db", "logs": "logs.db"}


class Lost(Exception):
    """What was acknowledged is not there."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("recording"), seed=SEED, commits=COMMITS)


def cuts_of(recording: Recording, seed: int, count: int, *, syncs: bool = True) -> Iterator[Crash]:
    """So many power cuts, by lot, from the moment when the database has been opened for the first time."""
    random = Random(seed)
    places = [random.randint(first_mark(recording), len(recording.events)) for _ in range(count)]
    return crashes(recording.events, places, random, syncs=syncs)


def first_mark(recording: Recording) -> int:
    """Before which event the database was made and nothing was acknowledged yet."""
    return next(place for place, event in enumerate(recording.events) if isinstance(event, Marked))


def put(crash: Crash, directory: Path) -> None:
    """Make a directory of what is left."""
    directory.mkdir()
    for name, content in crash.files.items():
        (directory / name).write_bytes(content)


async def check(crash: Crash, recording: Recording, directory: Path) -> None:
    """Start a server on what is left. Raises `Lost`, or whatever else goes wrong."""
    put(crash, directory)
    async with open_store(f"sqlite:///{directory}/nodelink.db", ids=lambda: "cluster") as store:
        for what, name in DATABASES.items():
            check_kept(what, state_of(directory / name).digest, crash, recording)
        check_agreement(directory / "nodelink.db")
        boot = await store.boot(START_MS)
        task = new_task("after", now=START_MS)
        receipt = await store.apply(Batch(now=START_MS, control_ms=boot.control_ms, changes=[submit(task)]))
        assert receipt.revisions == [boot.revision + 2]
    check_agreement(directory / "nodelink.db")


def check_kept(what: str, digest: str, crash: Crash, recording: Recording) -> None:
    """What is there is what one commit made: the last that was acknowledged, or the one under way."""
    acknowledged, digests = crash.acknowledged[what], recording.digests[what]
    kept = digests[max(0, acknowledged - 1) : acknowledged + 1]
    if digest not in kept:
        raise Lost(f"{acknowledged} commits to {what} were acknowledged; what is there is none of {kept}")


def test_the_run_does_what_is_risky(recording: Recording) -> None:
    """Logs are copied back, emptied, removed and made anew; names are synced."""
    changes = [event for event in recording.events if isinstance(event, Changed)]
    for name in DATABASES.values():
        log = f"{name}-wal"
        assert sum(change.name == name for change in changes) > 10
        assert Changed(log, Truncate(0)) in changes
        assert recording.events.count(Removed(log)) == recording.events.count(Created(log)) > 1
    starts = [change for change in changes if change.name == "nodelink.db-wal" and _starts_over(change)]
    assert len(starts) > recording.events.count(Created("nodelink.db-wal"))
    assert any(isinstance(event, SyncEnded) and event.name == "." for event in recording.events)


def _starts_over(change: Changed) -> bool:
    """Whether a log is begun from its first byte."""
    return isinstance(change.operation, Write) and change.operation.offset == 0


@pytest.mark.timeout(max(300, CUTS))
@pytest.mark.parametrize("part", range(PARTS))
def test_a_power_cut_loses_no_commit_that_was_acknowledged(recording: Recording, tmp_path: Path, part: int) -> None:
    async def run() -> None:
        for number, crash in enumerate(cuts_of(recording, SEED * PARTS + part, CUTS // PARTS)):
            directory = tmp_path / str(number)
            await check(crash, recording, directory)
            shutil.rmtree(directory)

    asyncio.run(run())


def test_a_power_cut_while_the_database_is_made_leaves_one_that_can_be_made(
    recording: Recording, tmp_path: Path
) -> None:
    """Above all behind the first write to each file, which nothing has synced yet."""
    random = Random(SEED)
    first_pages = [place for place in range(first_mark(recording)) if _is_first_page(recording.events[place])]
    places = [random.randint(0, first_mark(recording)) for _ in range(40)] + [place + 1 for place in first_pages * 25]

    async def run() -> list[str]:
        wrong = []
        for number, crash in enumerate(crashes(recording.events, places, random)):
            try:
                await check(crash, recording, tmp_path / str(number))
            except StoreError as error:
                wrong.append(f"behind {crash.place} events: {error.message}")
        return wrong

    assert asyncio.run(run()) == []


def _is_first_page(event: Event) -> bool:
    return isinstance(event, Changed) and event.name in DATABASES.values() and _starts_over(event)


def losses(recording: Recording, tmp_path: Path, *, syncs: bool) -> int:
    """In how many of a few power cuts something is wrong."""

    async def run() -> int:
        found = 0
        for number, crash in enumerate(cuts_of(recording, SEED, 60, syncs=syncs)):
            try:
                await check(crash, recording, tmp_path / str(number))
            except (Lost, AssertionError, StoreError, sqlite3.Error):
                found += 1
        return found

    return asyncio.run(run())


def test_a_disk_that_does_not_sync_is_seen_to_lose_commits(recording: Recording, tmp_path: Path) -> None:
    assert losses(recording, tmp_path, syncs=False) > 20


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_a_database_that_does_not_sync_each_commit_is_seen_to_lose_some(tmp_path: Path, synchronous: str) -> None:
    recording = record(tmp_path / "recording", seed=SEED, commits=COMMITS, synchronous=synchronous)

    assert losses(recording, tmp_path, syncs=True) > 5
