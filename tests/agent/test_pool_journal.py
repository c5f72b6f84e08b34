"""What a pool does with its journal: what waits for it, what an earlier process left in it, and leases."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nodelink.taken import Taken
from nodelink.task import AckDisposition as Disposition
from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
    Finished,
    Gone,
    HeldAttempt,
    HeldState,
    Outcome,
    Reason,
    ResultAck,
    TaskRequest,
    TaskSpec,
)
from nodelink.values import evolve
from nodelink_agent.core.records import StartRecord
from nodelink_agent.core.work import Extension
from nodelink_agent.handlers.registry import Context, HandlerEntry
from nodelink_agent.journal.file import JournalFile
from nodelink_agent.running import Elsewhere
from tests.support.agent_parts import Manual, open_journal, open_pool
from tests.support.failing_disk import FailingDisk
from tests.support.pool_talk import end_of, give, handler, open_session, request, results

A = AttemptRef("a", 1, 10)
B = AttemptRef("b", 1, 11)


class Later:
    """A type whose work others hold: what is taken up again waits until the test ends it."""

    def __init__(self) -> None:
        self.manual = Manual()
        self.places: list[str] = []

    @property
    def entry(self) -> HandlerEntry:
        return HandlerEntry(
            type="manual", execution=Execution.ONCE, run=self.manual.run, place="spawner", resume=self.resume
        )

    async def resume(self, place: str, context: Context) -> Finished:
        self.places.append(place)
        return await self.manual.run(b"", context)


async def test_nothing_begins_before_the_journal_knows_of_it(tmp_path: Path) -> None:
    known: list[int] = []

    async def run(_payload: bytes, _context: Context) -> Finished:
        known.append(len(open_journal(journal).known))
        return Finished(outcome=Outcome.COMPLETED)

    journal = tmp_path / "journal"
    journal.mkdir()
    async with open_pool(tmp_path / "out", handler(run), file=open_journal(journal)) as pool:
        open_session(pool)
        give(pool, request())
        await end_of(pool)
    assert known == [1]
    (attempt,) = open_journal(journal).known
    assert attempt.response is not None


async def test_what_this_process_did_itself_is_gone_with_it(tmp_path: Path) -> None:
    async with open_pool(tmp_path, Manual().entry, file=left(tmp_path, request())) as pool:
        open_session(pool)
        async with asyncio.timeout(10):
            while not (responses := pool.speech().responses):
                await pool.wake.wait()
                pool.wake.clear()
    ((ref, update),) = responses
    assert (ref, type(update)) == (A, Gone)
    assert isinstance(update, Gone)
    assert update.agent_died


async def test_what_a_lost_attempt_had_printed_is_sent_with_the_word_that_it_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "a-1-10").mkdir(parents=True)
    (folder / "a-1-10" / "stdout.head").write_bytes(b"the last words")
    async with open_pool(folder, Manual().entry, file=left(tmp_path, request())) as pool:
        pool.core.hello_held(now=pool.now())
        pool.perform(pool.core.welcomed([], response_credit=1_000, log_credit=1_000))
        chunks = []
        async with asyncio.timeout(10):
            while not pool.core.is_told:
                speech = pool.speech()
                chunks += speech.chunks
                acks = [ResultAck(ref, Disposition.COMMITTED) for ref, _ in speech.responses]
                pool.perform(pool.core.result_acked(acks))
                await pool.wake.wait()
                pool.wake.clear()
    assert [chunk.data for chunk in chunks] == [b"the last words"]
    assert not [path for path in folder.iterdir() if path.suffix != ".removed"]


async def test_what_others_hold_is_taken_up_again(tmp_path: Path) -> None:
    later = Later()
    async with open_pool(tmp_path, later.entry, file=left(tmp_path, request(), place="before")) as pool:
        assert pool.core.hello_held(now=pool.now()) == [HeldAttempt(A, HeldState.RUNNING)]
        context = await later.manual.begun("a")
        assert (later.places, context.ref, context.deadline) == (["before"], A, None)
        pool.perform(pool.core.welcomed([], response_credit=1_000, log_credit=0))
        later.manual.end("a")
        assert (await end_of(pool)).output == b'"done"'


async def test_what_is_taken_up_again_takes_what_it_took(tmp_path: Path) -> None:
    wide = evolve(request(), spec=TaskSpec(type="manual", slots=3, resources={"gpu": 1_000}))
    async with open_pool(tmp_path, Later().entry, file=left(tmp_path, wide, place="before")) as pool:
        open_session(pool)
        assert pool.core.heartbeat(now=pool.now()).taken == Taken(3, {"gpu": 1_000})


async def test_a_lease_that_is_over_stops_the_attempt_and_it_is_gone(tmp_path: Path) -> None:
    manual, clock = Manual(), [1_000.0]
    async with open_pool(tmp_path, manual.entry, clock=lambda: clock[0]) as pool:
        open_session(pool)
        pool.perform(pool.core.received([leased()], now=pool.now()))
        context = await manual.begun("a")
        clock[0] += 600
        async with asyncio.timeout(10):
            await context.stop_asked()
            await pool.until(lambda: pool.core.active == 0)
    assert (context.stop_reason, context.grace_seconds) == (Reason.LEASE_EXPIRED, 2.0)


async def test_who_holds_the_work_is_told_how_its_lease_goes_on_and_when_to_forget_it(tmp_path: Path) -> None:
    extended: list[Extension] = []
    forgotten: list[AttemptRef] = []
    manual, clock = Manual(), [1_000.0]
    elsewhere = Elsewhere(extend=extended.extend, forget=forgotten.append)
    async with open_pool(tmp_path, manual.entry, clock=lambda: clock[0], elsewhere=elsewhere) as pool:
        open_session(pool)
        pool.perform(pool.core.received([leased()], now=pool.now()))
        context = await manual.begun("a")
        assert context.lease_until == 1_000 + 570
        clock[0] += 5
        pool.perform(pool.core.heartbeat_acked(pool.core.heartbeat(now=pool.now()).number))
        assert extended == [Extension(A, 1_005 + 570)]
        manual.end("a")
        await end_of(pool)
        pool.perform(pool.core.result_acked([ResultAck(A, Disposition.COMMITTED)]))
        assert forgotten == [A]


async def test_while_the_journal_cannot_be_written_nothing_begins_and_what_ends_is_told(tmp_path: Path) -> None:
    manual = Manual()
    disk = FailingDisk(tmp_path)
    file = JournalFile(disk, next_session=1, reserve_bytes=0)
    async with open_pool(tmp_path / "out", manual.entry, file=file) as pool:
        open_session(pool)
        give(pool, request())
        await manual.begun("a")
        disk.room = 0
        manual.end("a")
        assert (await end_of(pool)).outcome is Outcome.COMPLETED
        give(pool, request(B))
        ((ref, update),) = await results(pool)
        assert (ref, type(update)) == (B, Declined)
        assert (pool.core.journal_failing, pool.core.task_credit()) == (True, 2)
        disk.room = None
        async with asyncio.timeout(10):
            await pool.until(lambda: not pool.core.journal_failing)
        assert pool.core.task_credit() == 2 + 5


async def test_what_cannot_be_written_down_does_not_begin(tmp_path: Path) -> None:
    manual = Manual()
    disk = FailingDisk(tmp_path)
    file = JournalFile(disk, next_session=1, reserve_bytes=0)
    async with open_pool(tmp_path / "out", manual.entry, file=file) as pool:
        open_session(pool)
        disk.room = 0
        give(pool, request())
        ((ref, update),) = await results(pool)
        assert (ref, type(update)) == (A, Declined)
        assert not manual.contexts


async def test_an_attempt_that_cannot_be_stopped_is_only_waited_for(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry, patience=0.0, margin=0.0) as pool:
        open_session(pool)
        give(pool, request(timeout_ms=1))
        context = await manual.begun("a")
        context.cannot_be_stopped()
        context.outlives(True)
        pool.perform(pool.core.cancel([CancelCommand(A, 0)]))
        pool.stop_all(grace_seconds=0)
        assert (context.cancelled, pool.staying) == (False, 1)
        manual.end("a")
        assert (await end_of(pool)).outcome is Outcome.COMPLETED


async def test_what_cannot_be_stopped_any_more_is_waited_for_after_a_stop(tmp_path: Path) -> None:
    manual = Manual(obeys=False)
    async with open_pool(tmp_path, manual.entry, patience=0.0, margin=0.3) as pool:
        open_session(pool)
        give(pool, request())
        context = await manual.begun("a")
        context.listen()
        pool.perform(pool.core.cancel([CancelCommand(A, 0)]))
        await asyncio.sleep(0.02)  # its patience is over, and the margin has begun
        context.cannot_be_stopped()
        await asyncio.sleep(0.35)
        manual.end("a")
        assert (await end_of(pool)).outcome is Outcome.COMPLETED


async def test_what_its_holder_has_lost_does_not_stay(tmp_path: Path) -> None:
    later = Later()
    async with open_pool(tmp_path, later.entry) as pool:
        open_session(pool)
        give(pool, request())
        context = await later.manual.begun("a")
        context.outlives(True)
        pool.lost("another")
        assert pool.staying == 1
        pool.lost("spawner")
        assert pool.staying == 0


def leased() -> TaskRequest:
    spec = TaskSpec(type="manual")
    return TaskRequest(ref=A, spec=spec, payload=b"", execution=Execution.REPLAYABLE, lease_ms=600_000)


def left(directory: Path, *requests: TaskRequest, place: str = "") -> JournalFile:
    """The journal of a process that began these and died."""
    folder = directory / "left"
    folder.mkdir()
    file = open_journal(folder)
    file.append([StartRecord(request, place, 0.0) for request in requests])
    file.close()
    return open_journal(folder)
