"""What is left after a kill, on a full disk, when a commit fails, when nobody waits for it any longer."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from nodelink.errors import StoreUnavailable
from nodelink_server.core.ports import Store, TaskQuery
from nodelink_server.store import writer
from nodelink_server.store.connections import reading_engine, writing_engine
from nodelink_server.store.sql import open_store
from nodelink_server.store.writer import Work, WriteConnection, Writer
from tests.server.store.lives import NOW, accept, grant, put, waiting

ROOT = Path(__file__).parents[3]
COMMITTER = """
import asyncio, sys
from nodelink_server.store.sql import open_store
from tests.server.store.lives import accept, put, waiting

async def main() -> None:
    async with open_store(sys.argv[1], ids=lambda: "cluster") as store:
        await store.boot(0)
        for number in range(100_000):
            await put(store, *[accept(waiting(f"t{number}-{part}")) for part in range(5)])
            print(number, flush=True)

asyncio.run(main())
"""


def url(path: Path) -> str:
    return f"sqlite:///{path}/nodelink.db"


def killed_after(commits: int, path: Path) -> int:
    """Run a server's worth of commits, and kill it at any moment after so many. The last that it acknowledged."""
    command = [sys.executable, "-c", COMMITTER, url(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(commits):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    return int(rest[-1]) if rest else commits - 1


@pytest.mark.parametrize("commits", [1, 20, 150])
async def test_a_kill_leaves_what_was_acknowledged_and_at_most_one_commit_more(tmp_path: Path, commits: int) -> None:
    acknowledged = killed_after(commits, tmp_path)

    async with open_store(url(tmp_path), ids=lambda: "other") as store:
        boot = await store.boot(NOW)
        found = {record.task.id for record in await store.list(TaskQuery(page_size=100_000))}
        events = await store.events(0, 1_000_000)

    assert boot.cluster_id == "cluster"
    assert len(found) // 5 in {acknowledged + 1, acknowledged + 2}
    assert found == {f"t{number}-{part}" for number in range(len(found) // 5) for part in range(5)}
    assert [event.revision for event in events] == list(range(1, 2 * len(found) + 1))
    assert boot.revision == 2 * len(found)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def bring_in(store: Store, accepted: list[int]) -> None:
    """Bring tasks in, for as long as the store takes them."""
    for number in range(10_000):
        await put(store, accept(waiting(f"t{number}", payload=b"x" * 10_000)))
        accepted.append(number)


async def fill(store: Store) -> int:
    """Bring tasks in until the disk is full. How many were accepted."""
    accepted: list[int] = []
    with pytest.raises(StoreUnavailable) as raised:
        await bring_in(store, accepted)
    assert raised.value.retry_after
    return len(accepted)


@pytest.mark.tmpfs
async def test_a_full_disk_refuses_and_loses_nothing_and_recovers(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    async with open_store(url(small_disk), ids=lambda: "cluster") as store:
        await store.boot(NOW)
        accepted = await fill(store)
        with pytest.raises(StoreUnavailable):
            await put(store, accept(waiting("no-room", payload=b"x" * 100_000)))
        assert accepted > 0
        assert len(await store.list(TaskQuery(page_size=1000))) == accepted

        ballast.unlink()
        receipt = await put(store, accept(waiting("room")))

        assert receipt.revisions[0] == 2 * accepted + 2
    async with open_store(url(small_disk), ids=lambda: "cluster") as store:
        assert len(await store.list(TaskQuery(page_size=1000))) == accepted + 1


class Notes:
    """A tiny table to write to, whose commits can be made to fail: by a reference that is only looked at in the end."""

    def __init__(self, path: Path) -> None:
        self.engine = writing_engine(path)
        event.listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"))
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE notes (word TEXT PRIMARY KEY)"))
            reference = "word TEXT REFERENCES notes (word) DEFERRABLE INITIALLY DEFERRED"
            connection.execute(text(f"CREATE TABLE remarks ({reference})"))

    def words(self) -> list[str]:
        with self.engine.begin() as connection:
            return list(connection.execute(text("SELECT word FROM notes ORDER BY word")).scalars())


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes.db")


def note(word: str, *, there: bool = False, fails: bool = False, told: list[str] | None = None) -> Work[str]:
    """Write a word. `fails`: the commit does, and `there` is what reading says of it then."""

    def do(connection: Connection) -> str:
        if fails:
            connection.execute(text("INSERT INTO remarks VALUES ('nothing')"))
        connection.execute(text("INSERT INTO notes VALUES (:word)"), {"word": word})
        return word

    return Work(do, lambda _connection, _word: there, (told if told is not None else []).append)


@pytest.fixture
def line(notes: Notes) -> Iterator[WriteConnection]:
    with closing(WriteConnection(notes.engine)) as line:
        yield line


def test_a_failed_commit_that_reading_does_not_find_has_changed_nothing(notes: Notes, line: WriteConnection) -> None:
    told: list[str] = []
    line.write(note("before", told=told))

    with pytest.raises(StoreUnavailable):
        line.write(note("lost", fails=True, told=told))

    line.write(note("behind", told=told))
    assert told == ["before", "behind"]
    assert sorted(told) == notes.words()


def test_a_failed_commit_that_reading_finds_was_made(notes: Notes, line: WriteConnection) -> None:
    told: list[str] = []
    line.write(note("before", told=told))

    assert line.write(note("there", there=True, fails=True, told=told)) == "there"
    assert told == ["before", "there"]


def notes_on(line: WriteConnection) -> None:
    """References are looked at from here on, by the connection that stays."""
    connection = line._connection
    assert connection is not None
    connection.connection.cursor().execute("PRAGMA foreign_keys = ON")


def test_work_that_raises_is_undone(notes: Notes, line: WriteConnection) -> None:
    def do(connection: Connection) -> None:
        note("half").do(connection)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        line.write(Work(do, lambda _connection, _result: False))

    line.write(note("whole"))
    assert notes.words() == ["whole"]


def test_a_full_database_refuses_and_takes_more_when_there_is_room(notes: Notes, line: WriteConnection) -> None:
    def full(connection: Connection) -> str:
        connection.exec_driver_sql("PRAGMA max_page_count = 10")
        return note("x" * 100_000).do(connection)

    with pytest.raises(StoreUnavailable, match="full"):
        line.write(Work(full, lambda _connection, _result: False))

    line.write(note("y" * 100_000))
    assert [word[0] for word in notes.words()] == ["y"]


def test_a_wrong_statement_is_a_bug_and_no_outage(line: WriteConnection) -> None:
    def wrong(connection: Connection) -> None:
        connection.execute(text("SELECT word FROM nowhere"))

    with pytest.raises(OperationalError, match="nowhere"):
        line.write(Work(wrong, lambda _connection, _result: False))


def test_an_idle_writer_gives_the_room_of_the_log_back_also_when_it_has_just_been_copied(
    tmp_path: Path, line: WriteConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LONG_LOG_PAGES", 1)
    line.write(note("one"))
    line.checkpoint_if_long()
    assert (tmp_path / "notes.db-wal").stat().st_size

    line.checkpoint_when_idle()

    assert not (tmp_path / "notes.db-wal").stat().st_size


def test_an_idle_writer_waits_for_no_reader_and_gives_the_room_back_once_it_is_gone(
    tmp_path: Path, line: WriteConnection
) -> None:
    line.write(note("one"))
    with reading_engine(tmp_path / "notes.db").connect() as reader:
        reader.exec_driver_sql("SELECT * FROM notes").fetchall()  # in a transaction, which goes on
        line.checkpoint_when_idle()
        assert (tmp_path / "notes.db-wal").stat().st_size

    line.checkpoint_when_idle()
    assert not (tmp_path / "notes.db-wal").stat().st_size


@pytest.mark.tmpfs
def test_that_the_log_cannot_be_copied_is_said_when_it_begins_and_not_at_each_try(small_disk: Path) -> None:
    with closing(WriteConnection(Notes(small_disk / "notes.db").engine)) as line, capture_logs() as logs:
        for word in "ab":
            line.write(note(word * 200_000))
            fill_up(small_disk / "ballast")
            for _ in range(3):
                line.checkpoint_when_idle()
            (small_disk / "ballast").unlink()
            line.checkpoint_when_idle()

    assert [entry["event"] for entry in logs] == ["checkpoint_failed"] * 2


def fill_up(ballast: Path) -> None:
    """Take all the room that its disk has."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


async def test_a_commit_goes_on_when_nobody_waits_for_it_any_longer(tmp_path: Path) -> None:
    async with open_store(url(tmp_path), ids=lambda: "cluster") as store:
        await store.boot(NOW)
        for number in range(20):
            waiter = asyncio.create_task(put(store, accept(waiting(f"t{number}"))))
            await asyncio.sleep(0)
            waiter.cancel()
            await asyncio.wait([waiter])
        last = await put(store, accept(waiting("last")))

        kept = await store.list(TaskQuery(page_size=100))
        events = await store.events(0, 1000)

    assert kept[0].task.id == "last"
    assert len({record.task.revision for record in kept}) == len(kept)
    assert [event.revision for event in events] == list(range(1, 2 * len(kept) + 1))
    assert last.revisions[0] == 2 * len(kept)


async def test_the_writer_finishes_what_was_handed_in_before_it_ends(notes: Notes) -> None:
    writer = Writer("notes", notes.engine)
    writer.start()
    async with asyncio.timeout(60):
        handed_in = [asyncio.ensure_future(writer.write(note(f"w{number:02}"))) for number in range(30)]
        await asyncio.sleep(0)
        await writer.close()
        assert await asyncio.gather(*handed_in) == [f"w{number:02}" for number in range(30)]

    assert len(notes.words()) == 30


async def test_the_log_of_the_database_does_not_grow_without_end(tmp_path: Path) -> None:
    log = tmp_path / "nodelink.db-wal"
    async with open_store(url(tmp_path), ids=lambda: "cluster") as store:
        await store.boot(NOW)
        longest = 0
        for number in range(40):
            tasks = [waiting(f"t{number}-{part}", payload=b"x" * 4096) for part in range(400)]
            await put(store, *map(accept, tasks))
            await put(store, *map(grant, tasks))
            longest = max(longest, log.stat().st_size)

    assert longest < 64 * 1024 * 1024
    assert not log.exists()


async def test_each_commit_tells_how_late_the_loop_was_for_its_answer(tmp_path: Path) -> None:
    lags: list[float] = []
    async with open_store(url(tmp_path), ids=lambda: "cluster") as store:
        await store.boot(NOW)
        await put(store, accept(waiting("t1")))
        store.watch_lag(lags.append)
        began = time.monotonic()
        await put(store, accept(waiting("t2")))
        await put(store, accept(waiting("t3")))

        assert len(lags) == 2
        assert all(0 <= late <= time.monotonic() - began for late in lags)


SAY_ONE: Work[int] = Work(lambda connection: 1, lambda connection, result: True)


async def test_no_more_than_so_many_works_wait_for_the_thread(tmp_path: Path) -> None:
    queue = Writer("test", writing_engine(tmp_path / "some.db"))  # which has not begun to take them
    works = [asyncio.ensure_future(queue.write(SAY_ONE)) for _ in range(writer.MOST_QUEUED)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="too much waits"):
        await queue.write(SAY_ONE)

    queue.start()
    assert await asyncio.gather(*works) == [1] * writer.MOST_QUEUED
    await queue.close()
