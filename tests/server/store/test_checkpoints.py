"""Checkpoints hold what waits and runs, are refused by the name of their defect, and begin another server once."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from nodelink.checkpoint import (
    HEADER_BYTES,
    VERSION,
    CheckpointHeader,
    CheckpointRefused,
    Defect,
    decode_header,
    encode_header,
)
from nodelink.checkpoint_file import BodyWriter
from nodelink.errors import CheckpointNotFound, IdempotencyConflict, ServerNotEmpty, StoreUnavailable, UniqueKeyTaken
from nodelink.task import Execution, HeldAttempt, HeldState, OnConflict, RetryPolicy, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.checkpoints import INTERVAL
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.pauses import SCHEDULER
from nodelink_server.core.ports import TaskQuery
from nodelink_server.store.checkpoint_tables import BY_TASK, LEFT_OUT, OF_BLOBS, WHOLE
from nodelink_server.store.tables import tasks_metadata
from tests.support.checkpointed import Checkpointed, checkpointed_core
from tests.support.core_parts import eventually, make_submission
from tests.support.fake_agent import FakeAgent

S = TaskStatus


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[Checkpointed]:
    async with checkpointed_core(tmp_path / "first") as core:
        yield core


async def _agent(core: Checkpointed, *, slots: int = 4) -> FakeAgent:
    agent = FakeAgent(core, slots=slots)
    await agent.connect()
    return agent


def test_every_table_is_kept_or_left_out() -> None:
    named = [*BY_TASK, *WHOLE, *OF_BLOBS, *LEFT_OUT]
    assert sorted(named) == sorted(tasks_metadata.tables), "say in checkpoint_tables.py whether a new table is kept"


async def test_what_waits_goes_on_in_another_server_as_it_stood(first: Checkpointed, tmp_path: Path) -> None:
    await first.manager.limits.set("pool:default", 7)
    await first.manager.workspaces.create("site", pool="default", mode="agent")
    await first.manager.pause("type:shell", reason="hot")
    ids = await first.submit(
        make_submission(metadata={"team": "red"}, limits={"db": 2}, payload=b'"' + b"x" * 70_000 + b'"'),
        make_submission(delay_ms=3_600_000, workspace="site"),
        make_submission("shell", payload=b'{"command":"x"}', priority=90, fairness_key="f", total_timeout_ms=5_000_000),
    )
    before = [await first.manager.get(task_id) for task_id in ids]
    header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        after = [await second.manager.get(task_id) for task_id in ids]
        assert after == before
        assert (await second.manager.scheduler_status()).pauses == (await first.manager.scheduler_status()).pauses
        assert second.manager.limits.get("pool:default").most == 7
        assert second.manager.workspaces.get("site").pool == "default"
        labelled = await second.manager.list(TaskQuery(labels=frozenset({("team", "red")})))
        assert [record.task.id for record in labelled] == ids[:1]

        agent = await _agent(second)
        request = await agent.task()
        assert (request.ref.task_id, len(request.payload)) == (ids[0], 70_002)
        assert request.ref.fence >> 32 > 1_000_000
        await second.manager.resume("type:shell")
        assert (await agent.task(1)).ref.task_id == ids[2]
    assert (header.waiting, header.running, header.complete, header.why) == (3, 0, False, "asked")
    assert header.schema.startswith("tasks_")


async def test_keys_are_kept_so_that_nothing_that_has_ended_runs_again(first: Checkpointed, tmp_path: Path) -> None:
    agent = await _agent(first)
    asked = make_submission(key="once-only", unique_key="deploy")
    [done] = await first.submit(asked)
    await agent.finish((await agent.task()).ref)
    await agent.hang_up()
    unique = make_submission("shell", payload=b'{"command":"x"}', unique_key="deploy", key="live")
    [live] = await first.submit(unique)
    header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        assert await second.submit(asked) == [done]
        assert (await second.manager.get(done)).task.status is S.COMPLETED
        assert await second.submit(unique) == [live]
        assert isinstance(await second.refused(make_submission(key="live")), IdempotencyConflict)
        other = make_submission(unique_key="deploy", on_conflict=OnConflict.FAIL)
        assert isinstance(await second.refused(other), UniqueKeyTaken)
    assert (header.tasks, header.ended_left_out) == (1, 0)


async def test_a_checkpoint_of_a_pause_with_nothing_running_is_complete(first: Checkpointed) -> None:
    agent = await _agent(first)
    await first.submit()
    running = await agent.task()
    await first.submit(make_submission("shell", payload=b'{"command":"x"}', delay_ms=60_000))

    _, during = await first.manager.pause_and_keep(SCHEDULER)
    await agent.finish(running.ref)
    after = await first.manager.checkpoints.take()

    assert during is not None
    assert (during.complete, during.why, during.waiting, during.running) == (False, "pause", 1, 1)
    assert (after.complete, after.running) == (True, 0)


@pytest.mark.parametrize(
    "execution, type", [(Execution.ONCE, "shell"), (Execution.EXCLUSIVE, "shell"), (Execution.REPLAYABLE, "echo")]
)
async def test_what_ran_is_revived_by_its_class(
    first: Checkpointed, tmp_path: Path, execution: Execution, type: str
) -> None:
    agent = await _agent(first)
    payload = b'{"command":"x"}'
    [task_id] = await first.submit(make_submission(type, payload=payload, execution=execution, lock="db"))
    running = await agent.task()
    header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        wanted = S.SENT if execution is Execution.REPLAYABLE else S.UNKNOWN
        await eventually(lambda: _is(second, task_id, wanted))
        task = (await second.manager.get(task_id)).task
        assert task.ref == running.ref
        if execution is not Execution.REPLAYABLE:
            assert task.message == f"it was with its agent when checkpoint {header.id} was taken"
        other = FakeAgent(second, agent_id="a2", slots=4)
        await other.connect()
        [waiting] = await second.submit(make_submission(type, payload=payload, lock="db"))
        await asyncio.sleep(0.1)
        assert not other.tasks  # the lock is still held

        back = FakeAgent(second)
        back.number = agent.number
        await back.connect(held=[HeldAttempt(running.ref, HeldState.RUNNING)])
        await eventually(lambda: _is(second, task_id, S.IN_PROGRESS))
        await back.finish(running.ref)
        assert await second.status(task_id) is S.COMPLETED
        await eventually(lambda: bool(other.tasks or back.tasks))
        assert (other.tasks or back.tasks)[0].ref.task_id == waiting


async def test_what_is_replayable_comes_back_when_its_lease_has_run_out(first: Checkpointed, tmp_path: Path) -> None:
    agent = await _agent(first)
    [task_id] = await first.submit()
    ref = (await agent.task()).ref
    header = await first.manager.checkpoints.take()
    lease = (await first.manager.get(task_id)).task
    assert lease.attempt is not None
    assert lease.attempt.lease_ms == 600_000

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        back = FakeAgent(second)
        back.number = agent.number
        await back.connect(remembers_since=1)  # and has nothing: it ran, or was never sent
        request = await back.task()
        assert (request.ref.task_id, request.ref.attempt) == (task_id, 2)
        assert request.ref.fence > ref.fence


async def test_a_person_may_say_that_all_that_ran_waits_again(first: Checkpointed, tmp_path: Path) -> None:
    agent = await _agent(first)
    payload = b'{"command":"x"}'
    ids = await first.submit(
        make_submission(),
        make_submission("shell", payload=payload, execution=Execution.EXCLUSIVE, lock="db"),
        make_submission("shell", payload=payload),
    )
    [stopped] = await first.submit(make_submission("shell", payload=payload))
    running = [await agent.task(place) for place in range(4)]
    await first.manager.cancel(stopped)
    header = await first.manager.checkpoints.take()

    path = first.file(header.id)
    async with checkpointed_core(tmp_path / "second", load=path, as_waiting=True) as second:
        await eventually(lambda: _is(second, stopped, S.CANCELLED))
        assert [await second.status(task_id) for task_id in ids] == [S.PENDING] * 3
        other = FakeAgent(second, agent_id="a2", slots=4)
        await other.connect()
        again = [await other.task(place) for place in range(3)]
        assert {request.ref.task_id for request in again} == set(ids)
        assert min(request.ref.fence for request in again) > max(request.ref.fence for request in running)
        assert {request.ref.attempt for request in again} == {2}


async def test_what_is_in_doubt_can_be_resolved_and_a_restart_doubts_nothing_new(
    first: Checkpointed, tmp_path: Path
) -> None:
    agent = await _agent(first)
    shell = make_submission("shell", payload=b'{"command":"x"}')
    [task_id] = await first.submit(shell)
    await agent.task()
    header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        await eventually(lambda: _is(second, task_id, S.UNKNOWN))
        await second.manager.resolve(task_id, resolution=Resolution.RERUN, reason="it never ran")
        other = FakeAgent(second, agent_id="a2")
        await other.connect()
        await other.task()
        assert await second.status(task_id) is S.SENT
    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        await second.manager.ledger.commit()
        assert await second.status(task_id) is S.SENT
        assert (await second.store.look_again()).loaded is None


async def test_loading_twice_does_no_harm_and_only_an_empty_server_loads_another(
    first: Checkpointed, tmp_path: Path
) -> None:
    [task_id] = await first.submit()
    one = await first.manager.checkpoints.take()
    two = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(one.id)) as second:
        agent = await _agent(second)
        await agent.finish((await agent.task()).ref)
        assert not await second.shelf.load_file(first.file(one.id), now=0, as_waiting=True)
        with pytest.raises(ServerNotEmpty):
            await second.shelf.load_file(first.file(two.id), now=0, as_waiting=False)
        assert await second.status(task_id) is S.COMPLETED
    with pytest.raises(ServerNotEmpty):
        await first.shelf.load_file(first.file(two.id), now=0, as_waiting=False)


async def test_a_running_server_goes_on_from_a_checkpoint_while_it_is_paused(
    first: Checkpointed, tmp_path: Path
) -> None:
    retry = RetryPolicy(max_attempts=2, initial_ms=1)
    ids = await first.submit(
        make_submission(),
        make_submission(delay_ms=300),
        make_submission(retry=retry, queue_timeout_ms=400, pool="nowhere"),
    )
    header = await first.manager.checkpoints.take()
    async with checkpointed_core(tmp_path / "second") as second:
        agent = await _agent(second)
        content = await first.manager.checkpoints.content(header.id)
        kept = await second.manager.checkpoints.keep(content)
        with pytest.raises(ServerNotEmpty, match="pause it first"):
            await second.manager.load_checkpoint(kept.id)

        await second.manager.pause(SCHEDULER)
        assert await second.manager.load_checkpoint(kept.id)
        assert not await second.manager.load_checkpoint(kept.id)
        [new] = await second.submit()
        await asyncio.sleep(0.05)
        assert not agent.tasks

        await second.manager.resume(SCHEDULER)
        got = {(await agent.task(place)).ref.task_id for place in range(3)}
        assert got == {ids[0], ids[1], new}
        await eventually(lambda: _is(second, ids[2], S.TIMEOUT))


async def test_the_newest_are_kept_and_one_is_taken_now_and_then_if_anything_has_changed(tmp_path: Path) -> None:
    options = Options(checkpoint_interval=0.02, checkpoints_kept=2)
    async with checkpointed_core(tmp_path / "first", options=options) as core:
        await eventually(lambda: core.manager.tally.checkpoints["unchanged"] > 1)
        assert core.manager.tally.checkpoints["taken"] == 1
        for _ in range(3):
            last = core.manager.checkpoints.last
            await core.submit()
            await eventually(partial(_has_other, core, last))
        kept = await core.manager.checkpoints.all()
        assert len(kept) == 2
        assert kept[0] == core.manager.checkpoints.last
        assert kept[0].why == INTERVAL
        assert (await core.manager.scheduler_status()).last_checkpoint_at == kept[0].taken_at
    async with checkpointed_core(tmp_path / "first") as core:
        await eventually(lambda: core.manager.checkpoints.last is not None)
        (tmp_path / "first/checkpoints/killed.part").touch()
        await core.manager.checkpoints.take()
        assert not list((tmp_path / "first/checkpoints").glob("*.part"))


async def test_pauses_resumptions_and_loads_are_audited(first: Checkpointed, tmp_path: Path) -> None:
    await first.manager.pause("pool:gpu", reason="hot", by="ada")
    await first.manager.resume("pool:gpu", by="bob")
    header = await first.manager.checkpoints.take()

    assert _decisions(first) == [["pause", "ada", "hot", "pool:gpu"], ["resume", "bob", "", "pool:gpu"]]
    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        await second.manager.ledger.commit()
        assert _decisions(second) == [["load_checkpoint", "", "", header.id]]


async def test_files_are_ours_alone_to_read(first: Checkpointed) -> None:
    header = await first.manager.checkpoints.take()

    assert first.file(header.id).stat().st_mode & 0o777 == 0o600
    assert first.file(header.id).parent.stat().st_mode & 0o777 == 0o700


async def test_what_cannot_be_written_is_an_error_that_says_so(first: Checkpointed) -> None:
    (first.directory / "checkpoints").touch()

    with pytest.raises(StoreUnavailable, match="checkpoints"):
        await first.manager.checkpoints.take()
    pause, header = await first.manager.pause_and_keep(SCHEDULER)
    assert (pause.scope, header) == (SCHEDULER, None)
    assert first.manager.tally.checkpoints["failed"] == 2


SPOILED: Sequence[tuple[Callable[[bytes], bytes], Defect]] = (
    (lambda whole: b"", Defect.NOT_A_CHECKPOINT),
    (lambda whole: b"PK\x03\x04" + whole, Defect.NOT_A_CHECKPOINT),
    (lambda whole: whole[:100], Defect.TRUNCATED),
    (lambda whole: whole[:HEADER_BYTES], Defect.TRUNCATED),
    (lambda whole: whole[:-1], Defect.TRUNCATED),
    (lambda whole: whole + b"\n", Defect.DAMAGED),
    (lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], Defect.DAMAGED),
    (lambda whole: whole.replace(b'"waiting":1', b'"waiting":2'), Defect.DAMAGED),
    (lambda whole: whole.replace(b'"waiting":1', b'"waiting":"'), Defect.DAMAGED),
    (lambda whole: whole.replace(b'"waiting":1', b'"waitinG":1'), Defect.DAMAGED),
    (lambda whole: whole.replace(b'"version":1', b'"version":%d' % (VERSION + 1)), Defect.NEWER),
    (lambda whole: whole.replace(b'"version":1', b'"version":0'), Defect.DAMAGED),
)
UNFIT: Sequence[tuple[dict[str, object], Defect]] = (
    ({"table": "rockets", "columns": [], "rows": []}, Defect.NEWER),
    ({"table": "limits", "columns": ["key", "most", "set_at", "colour"], "rows": []}, Defect.NEWER),
    ({"table": "limits", "columns": ["key"], "rows": [["a"]]}, Defect.DAMAGED),
    ({"table": "limits", "rows": []}, Defect.DAMAGED),
    ({"table": "limits", "columns": ["key", "most", "set_at"], "rows": [["a", 1]]}, Defect.DAMAGED),
)


async def test_what_is_not_whole_is_refused_by_the_name_of_its_defect(first: Checkpointed, tmp_path: Path) -> None:
    await first.submit()
    header = await first.manager.checkpoints.take()
    whole, spoiled = first.file(header.id).read_bytes(), tmp_path / "spoiled"
    assert await first.manager.checkpoints.verify(header.id) == header

    async with checkpointed_core(tmp_path / "second") as second:
        for spoil, defect in SPOILED:
            spoiled.write_bytes(spoil(whole))
            with pytest.raises(CheckpointRefused) as refusal:
                await second.shelf.load_file(spoiled, now=0, as_waiting=False)
            assert refusal.value.defect is defect, str(refusal.value)
            with pytest.raises(CheckpointRefused):
                await second.manager.checkpoints.keep(spoiled.read_bytes())
        assert await second.manager.checkpoints.all() == []
        assert await second.shelf.load_file(first.file(header.id), now=0, as_waiting=False)


async def test_rows_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "made"
    good: dict[str, object] = {"table": "limits", "columns": ["key", "most", "set_at"], "rows": [["running", 5, 1]]}

    async with checkpointed_core(tmp_path / "second") as core:
        for line, defect in UNFIT:
            path.write_bytes(_file([good, line]))
            with pytest.raises(CheckpointRefused) as refusal:
                await core.shelf.load_file(path, now=0, as_waiting=False)
            assert refusal.value.defect is defect, str(refusal.value)
        assert (await core.store.look_again()).limits == {}
        await core.submit()


async def test_a_checkpoint_that_is_not_there_is_not_found(first: Checkpointed) -> None:
    for name in ("nothing", "../nodelink.db", ""):
        with pytest.raises(CheckpointNotFound):
            await first.manager.checkpoints.get(name)
        with pytest.raises(CheckpointNotFound):
            await first.manager.checkpoints.verify(name)
        with pytest.raises(CheckpointNotFound):
            await first.manager.checkpoints.content(name)


def test_a_header_is_what_it_was() -> None:
    header = _header()
    assert decode_header(encode_header(header)) == header
    assert len(encode_header(header)) == HEADER_BYTES


def _file(lines: list[dict[str, object]]) -> bytes:
    """A checkpoint with these lines, whole by its digest."""
    file = io.BytesIO()
    writer = BodyWriter(file)
    for line in lines:
        writer._put(writer._zip.compress(json.dumps(line).encode() + b"\n"))
    writer.finish(_header())
    content = file.getvalue()
    assert len(gzip.decompress(content[HEADER_BYTES:]).splitlines()) == len(lines)
    return content


def _header() -> CheckpointHeader:
    return CheckpointHeader(
        id="c1",
        cluster_id="",
        start_number=1,
        control_ms=1,
        revision=1,
        last_key=1,
        taken_at=1,
        why="asked",
        complete=False,
        waiting=1,
        running=1,
        tasks=1,
    )


def _decisions(core: Checkpointed) -> list[object]:
    with closing(sqlite3.connect(core.directory / "nodelink.db")) as connection:
        rows = connection.execute("SELECT entries FROM audit ORDER BY sequence").fetchall()
    return [one for (entries,) in rows for one in json.loads(entries).get("decisions", [])]


def _has_other(core: Checkpointed, last: CheckpointHeader | None) -> bool:
    return core.manager.checkpoints.last != last


async def _is(core: Checkpointed, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status
