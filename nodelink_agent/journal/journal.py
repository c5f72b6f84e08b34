"""The journal as the event loop sees it: what gathers while one sync is under way is made durable by the next.

One thread writes. A journal that cannot be written is tried again for ever; meanwhile its user is told, so that nothing
new begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import structlog

from nodelink.failpoints import hit
from nodelink_agent.core.records import Record
from nodelink_agent.journal.file import JournalFile

RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Journal:
    """Writes records in the order in which they come, and counts them from 1.

    After each attempt `on_written` is called on the loop with the number of the last record concerned, whether all up
    to it are durable now, and whether the journal is in trouble: then new work should not begin.
    """

    def __init__(self, file: JournalFile, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self.on_written: Callable[[int, bool, bool], None] = _nobody
        self._file = file
        self._retry_seconds = retry_seconds
        self._waiting: list[Record] = []
        self._done = 0
        self._gathered = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_failing = False
        self._loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Write for as long as this lasts, and in the end what has gathered by then, if the disk takes it."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        writer = asyncio.create_task(self._run(thread), name="journal writer")
        try:
            yield
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            thread.shutdown(wait=True)
            self._write_the_rest()
            self._file.close()

    def append(self, records: Sequence[Record]) -> None:
        """Have these records written."""
        self._waiting += records
        self._gathered.set()
        self._idle.clear()

    async def settled(self) -> None:
        """Return when all that was appended has been written, or was tried in vain."""
        await self._idle.wait()

    # --- within

    async def _run(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._wait_for_records()
            batch = list(self._waiting)
            failure = await self._loop.run_in_executor(thread, self._write, batch)
            if failure is None:
                del self._waiting[: len(batch)]
                self._done += len(batch)
            else:
                self._gathered.clear()
            self._tell(self._done if failure is None else self._done + len(batch), failure)
            if not self._waiting or failure is not None:
                self._idle.set()

    async def _wait_for_records(self) -> None:
        """Return when something is to be written, or it is time to see whether the trouble is over."""
        if not self._waiting:
            self._gathered.clear()
        if not self._is_failing:
            await self._gathered.wait()
            return
        try:
            async with asyncio.timeout(self._retry_seconds):
                await self._gathered.wait()
        except TimeoutError:
            return

    def _write(self, batch: Sequence[Record]) -> OSError | None:
        """In the writer's thread. The reserve is taken again when there is room for it."""
        try:
            if batch:
                hit("agent.journal.before_write")
                self._file.append(batch)
                hit("agent.journal.synced")
            self._file.take_reserve()
        except OSError as error:
            return error
        return None

    def _tell(self, upto: int, failure: OSError | None) -> None:
        is_failing = failure is not None or self._file.lacks_reserve
        if is_failing and not self._is_failing:  # once, not every time
            _log.error("journal_not_written", error=str(failure) if failure else "the disk is full")
        if self._is_failing and not is_failing:
            _log.info("journal_written_again")
        self._is_failing = is_failing
        self.on_written(upto, failure is None, is_failing)

    def _write_the_rest(self) -> None:
        if self._waiting and self._write(self._waiting) is None:
            self._waiting.clear()


def _nobody(_upto: int, _durable: bool, _failing: bool) -> None:
    """Nobody wants to know."""
