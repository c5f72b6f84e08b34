"""The one connection that writes to a file, and the thread it lives in.

A transaction goes to the thread as a whole and its answer comes back once. After the answer, never before it, the
write-ahead log is copied into the database: by the same connection, since two that write and checkpoint at once have
damaged databases in some versions of SQLite.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from nodelink.errors import StoreUnavailable
from nodelink.failpoints import hit
from nodelink_server.store.connections import BUSY_SECONDS, translated
from nodelink_server.store.errors import CommitUnknown

IDLE_SECONDS = 2.0
LONG_LOG_PAGES = 4_000
PAGES_PER_COMMIT = 12
MOST_QUEUED = 64
SETTLE_TRIES = 10
SETTLE_PAUSE_SECONDS = 0.5

T = TypeVar("T")
log = structlog.get_logger(__name__)


def _nothing(_result: object) -> None:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What one transaction does.

    `is_there` tells, in a later transaction, whether what `do` returned was committed. `pages` estimates how many pages
    of the log it takes beside those that every commit takes; SQLite does not tell. `committed` is called in the thread
    once the commit is certain, even if nobody waits for it any longer.
    """

    do: Callable[[Connection], T]
    is_there: Callable[[Connection, T], bool]
    committed: Callable[[T], None] = _nothing
    pages: int = 0


class WriteConnection:
    """Makes transactions, and leaves no doubt about them. For one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._pages = 0
        """About how many pages were written since the log was last copied."""
        self._has_room = False
        """Whether the file of the log may take room that can be given back."""
        self._cannot_copy = False
        """Whether the last try to copy the log failed; said when it begins, and not at each try."""
        self._stopping = threading.Event()

    def write(self, work: Work[T]) -> T:
        """Do the work and commit it. Raises `StoreUnavailable`: nothing has changed; `CommitUnknown`: nobody knows."""
        result = self._prepared(work)
        assert self._connection is not None
        hit("server.writer.before_commit")
        try:
            self._connection.commit()
        except DBAPIError as error:
            self._drop()
            self._settle(work, result, error)
        work.committed(result)
        hit("server.writer.after_commit")
        self._pages += PAGES_PER_COMMIT + work.pages
        self._has_room = True
        return result

    def _prepared(self, work: Work[T]) -> T:
        """Begin, and do the work. If that fails the transaction is gone."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            self._connection.begin()
            return work.do(self._connection)
        except BaseException as error:
            self._drop()
            known = translated(error) if isinstance(error, DBAPIError) else None
            if known is not None:
                raise known from error
            raise

    def _settle(self, work: Work[T], result: T, cause: DBAPIError) -> None:
        """Find out by reading whether a commit that failed was made all the same. Raises if not, or if nobody knows."""
        for _ in range(SETTLE_TRIES):
            try:
                with self._engine.begin() as connection:
                    there = work.is_there(connection, result)
            except DBAPIError:
                self._stopping.wait(SETTLE_PAUSE_SECONDS)
                continue
            log.warning("commit_settled_by_reading", committed=there, error=str(cause.orig))
            if there:
                return
            raise StoreUnavailable(f"the database could not commit: {cause.orig}") from cause
        raise CommitUnknown(f"the database failed at a commit, and cannot be read since: {cause.orig}") from cause

    def checkpoint_if_long(self) -> None:
        """Copy the log into the database if it has grown long, so that it starts over."""
        if self._pages >= LONG_LOG_PAGES:
            self._checkpoint("PASSIVE")

    def checkpoint_when_idle(self) -> None:
        """Copy the log into the database and give its room back, if there is anything in it and no reader holds it."""
        if self._has_room:
            self._has_room = not self._checkpoint("TRUNCATE")

    def _checkpoint(self, mode: str) -> bool:
        """Copy what no reader holds, and wait for none. Whether everything is copied.

        A failure is no harm yet: the log only stays long until the next time.
        """
        if self._connection is None:
            return False
        self._pages = 0
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute("PRAGMA busy_timeout = 0")
        try:
            [(busy, _pages, _copied)] = driver.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        except sqlite3.Error as error:
            if not self._cannot_copy:
                log.warning("checkpoint_failed", mode=mode, error=str(error))
            self._cannot_copy = True
            return False
        finally:
            driver.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
        self._cannot_copy = False
        return not busy

    def _drop(self) -> None:
        """Let the connection go, with whatever it was doing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except DBAPIError as error:
            log.warning("connection_lost", error=str(error.orig))
            connection.invalidate()

    def stop(self) -> None:
        """From any thread: wait for nothing any longer."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the file."""
        self._drop()
        self._engine.dispose()


class _Job(NamedTuple):
    """A work on its way through the thread, and where its answer is waited for. `late` as in `Writer`."""

    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    late: Callable[[float], None]

    def settle(self, result: object, error: Exception | None, done_at: float) -> None:
        """In the loop: tell what became of it, if that is still waited for."""
        self.late(time.monotonic() - done_at)
        if self.answer.cancelled():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


class Writer:
    """The thread of a `WriteConnection`: takes works in order, one at a time.

    A single task waits for two handings over to this thread and two back, so they are made of what is cheapest.
    `late` is called, in the loop, with how many seconds an answer waited for the loop.
    """

    def __init__(self, name: str, engine: Engine) -> None:
        self.late: Callable[[float], None] = _nothing
        self._line = WriteConnection(engine)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ended: Future[None] = Future()

    def start(self) -> None:
        """Begin to take works."""
        self._thread.start()

    async def write(self, work: Work[T]) -> T:
        """Have a work committed. Raises as `WriteConnection.write`. Cancelled: what has begun goes on to its end."""
        if self._queue.qsize() >= MOST_QUEUED:
            raise StoreUnavailable("too much waits to be written", retry_after=1.0)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Job(work, loop, answer, self.late))
        return await answer

    async def close(self) -> None:
        """Finish what was handed in, and end the thread."""
        self._line.stop()
        self._queue.put(None)
        await asyncio.wrap_future(self._ended)

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                self._do(job)
                self._line.checkpoint_if_long()
            self._line.close()
        except BaseException as error:
            self._ended.set_exception(error)
            raise
        self._ended.set_result(None)

    def _next(self) -> _Job | None:
        while True:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._line.checkpoint_when_idle()

    def _do(self, job: _Job) -> None:
        if job.answer.cancelled():
            return
        result, error = None, None
        try:
            result = self._line.write(job.work)
        except Exception as failure:  # noqa: BLE001 (it is raised where the work came from)
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            job.loop.call_soon_threadsafe(job.settle, result, error, time.monotonic())
