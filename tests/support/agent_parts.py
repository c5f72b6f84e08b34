"""Parts of an agent for tests: handlers whose work the test controls, a pool that needs no spawner, and its link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nodelink.address import Address
from nodelink.task import AttemptRef, Execution, Finished, Outcome, Reason
from nodelink_agent.blobs import OpenBlobs
from nodelink_agent.boottime import boottime
from nodelink_agent.context import BeginTrace
from nodelink_agent.handlers.echo import ECHO
from nodelink_agent.handlers.registry import Context, HandlerEntry, HandlerRegistry
from nodelink_agent.journal.disk import Disk
from nodelink_agent.journal.file import JournalFile
from nodelink_agent.journal.journal import Journal
from nodelink_agent.link import Introduction, Link
from nodelink_agent.output import Output
from nodelink_agent.pool import Pool
from nodelink_agent.running import Elsewhere

DONE = Finished(outcome=Outcome.COMPLETED, output=b'"done"')


class Manual:
    """The type `manual`: each attempt runs until the test ends it, or until it is stopped if it obeys."""

    def __init__(self, *, obeys: bool = True) -> None:
        self.contexts: dict[str, Context] = {}
        self._begun = asyncio.Condition()
        self._ends: dict[str, asyncio.Future[Finished]] = {}
        self._obeys = obeys

    @property
    def entry(self) -> HandlerEntry:
        """The handler as the registry wants it."""
        return HandlerEntry(type="manual", execution=Execution.ONCE, run=self.run)

    async def run(self, _payload: bytes, context: Context) -> Finished:
        """Run one attempt."""
        end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self._ends[context.ref.task_id] = end
        async with self._begun:
            self.contexts[context.ref.task_id] = context
            self._begun.notify_all()
        context.started("process_group")
        if not self._obeys:
            return await end
        stop = asyncio.create_task(context.stop_asked())
        waits: set[asyncio.Future[Any]] = {stop, end}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        return end.result() if end.done() else Finished(outcome=Outcome.CANCELLED, reason=_reason(context))

    async def begun(self, task_id: str, *, after: Context | None = None) -> Context:
        """The context of a task's attempt, once it runs: the first one, or the one after another."""
        async with asyncio.timeout(10), self._begun:
            await self._begun.wait_for(lambda: self.contexts.get(task_id, after) is not after)
        return self.contexts[task_id]

    def end(self, task_id: str, finished: Finished = DONE) -> None:
        """Let an attempt end."""
        self._ends[task_id].set_result(finished)


def _reason(context: Context) -> Reason:
    if context.stop_reason is None:
        raise AssertionError("stopped without a reason")
    return context.stop_reason


@asynccontextmanager
async def open_pool(
    directory: Path,
    *entries: HandlerEntry,
    slots: int = 5,
    patience: float = 10.0,
    margin: float = 10.0,
    kept_bytes: int = 1 << 20,
    begin_trace: BeginTrace | None = None,
    file: JournalFile | None = None,
    elsewhere: Elsewhere | None = None,
    open_blobs: OpenBlobs | None = None,
    clock: Callable[[], float] = boottime,
) -> AsyncIterator[Pool]:
    """A pool that runs `echo` and the given handlers, and knows what its journal does.

    `patience` and `margin`: seconds that a handler has to end after a stop. Of output, head and tail are kept.
    """
    journal_directory = directory.with_name(f"{directory.name}-journal")
    journal_directory.mkdir(exist_ok=True)
    file = file or open_journal(journal_directory)
    journal = Journal(file)

    def open_output(ref: AttemptRef, on_growth: Callable[[], None]) -> Output:
        place = directory / f"{ref.task_id}-{ref.attempt}-{ref.fence}"
        work = place.with_name(f"{place.name}.work")
        return Output(place, on_growth, work=work, head_bytes=kept_bytes, tail_bytes=kept_bytes)

    pool = Pool(
        slots=slots,
        handlers=HandlerRegistry([ECHO, *entries]),
        journal=journal,
        open_output=open_output,
        elsewhere=elsewhere,
        least_patience=patience,
        stop_margin=margin,
        begin_trace=begin_trace,
        open_blobs=open_blobs,
        clock=clock,
    )
    async with journal.open(), pool.open():
        pool.restore(file.known)
        yield pool


def open_journal(directory: Path, *, next_session: int = 1) -> JournalFile:
    """The journal in a directory, without a reserve."""
    return JournalFile(Disk(directory), next_session=next_session, reserve_bytes=0)


def make_link(address: Address, pool: Pool, *, session: int = 1, slots: int = 5) -> Link:
    """The link of one session."""
    introduction = Introduction(
        agent_id="0190f3a2-7c1e-7abc-8def-0123456789ab",
        secret=b"s" * 32,
        session=session,
        remembers_since=1,
        process_since=1,
        host_id="host",
        name="agent",
        pool="default",
        slots=slots,
        handlers=(),
        labels={"zone": "a"},
        software_version="test",
        resources={"cpu": 3_500, "gpu": 2_000},
        type_limits={"shell": 2},
    )
    return Link(address, introduction, pool, random=lambda: 0.5)
