"""Checkpoints hold the blobs that what goes on needs, name those that they lack, and refuse what is damaged."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nodelink.checkpoint import MOST_LEFT_OUT, CheckpointHeader, LeftOutWhy
from nodelink.errors import BlobNotFound, ServerNotEmpty
from nodelink.task import TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.blob_ports import Artifact, WorkspaceState
from nodelink_server.core.pauses import SCHEDULER
from nodelink_server.store.checkpoint_blobs import BOUNDS, MOST_BLOB_BYTES, MOST_BLOBS, MOST_BYTES, Bounds
from nodelink_server.store.payload_digests import DIGESTS_AT_ONCE
from tests.server.store.keepings import new_artifact, new_state
from tests.support.blobs_given import blobs_on_disk, bytes_of, digest_of, give, pieces_in, save_state, upload
from tests.support.checkpointed import Checkpointed, checkpointed_core
from tests.support.core_parts import make_submission
from tests.support.fake_agent import FakeAgent


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[Checkpointed]:
    async with checkpointed_core(tmp_path / "first") as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        yield core


async def test_what_waits_finds_its_artifacts_and_a_workspace_its_newest_state(
    first: Checkpointed, tmp_path: Path
) -> None:
    [own] = await first.submit()
    [there] = await first.submit(make_submission(workspace="site"))
    large, small = random.Random(1).randbytes(200_000), b"small"
    given = [await give(first, own, "large", large), await give(first, there, "small", small)]
    await give(first, there, "empty", b"")
    await save_state(first, "site", b"old")
    state = await save_state(first, "site", b"new")
    header = await first.manager.checkpoints.take()
    artifacts = [await first.manager.artifacts.list(task_id) for task_id in (own, there)]

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        assert [await second.manager.artifacts.list(task_id) for task_id in (own, there)] == artifacts
        assert [await bytes_of(second, sha256) for sha256 in given] == [large, small]
        assert await bytes_of(second, digest_of(b"")) == b""
        assert await second.manager.workspace_states.list("site") == [state]
        assert await bytes_of(second, state.sha256) == b"new"
        assert [blob.workspace for blob in await second.manager.blobs.get(given[1])] == ["site"]
        assert (await save_state(second, "site", b"newer")).version == state.version + 1
    assert (header.blobs, header.blob_bytes, header.blobs_left_out) == (4, 200_008, 0)


async def test_blobs_that_payloads_name_are_in_it(tmp_path: Path) -> None:
    async with checkpointed_core(tmp_path / "first", bounds=Bounds(blob_bytes=7)) as first:
        archive, larger, other = [await upload(first, data) for data in (b"archive", b"larger one", b"other")]
        longer = f"{other}0"
        payload = json.dumps({"source": {"sha256": archive}, "more": [larger, larger], "none": longer}).encode()
        [task_id] = await first.submit(make_submission(payload=payload))
        with closing(sqlite3.connect(first.directory / "nodelink.db")) as connection, connection:
            connection.execute("UPDATE blobs SET used_at = 1")  # long ago
        header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        await second.manager.blobs.sweep()
        assert await bytes_of(second, archive) == b"archive"
        with pytest.raises(BlobNotFound):
            await bytes_of(second, other)
    assert header.blobs == 1
    assert [(one.sha256, one.task_id, one.name) for one in header.left_out] == [(larger, task_id, "")]


async def test_payloads_are_looked_through_a_portion_after_the_other(first: Checkpointed) -> None:
    named = await upload(first, b"archive")
    unknown = [digest_of(str(number).encode()) for number in range(DIGESTS_AT_ONCE)]
    await first.submit(*(make_submission(payload=json.dumps(digests).encode()) for digests in (unknown, [named])))
    await first.submit(make_submission(payload=json.dumps(unknown[::-1]).encode()))

    assert (await first.manager.checkpoints.take()).blobs == 1


async def test_what_nothing_that_goes_on_needs_is_not_in_it(first: Checkpointed, tmp_path: Path) -> None:
    agent = FakeAgent(first)
    await agent.connect()
    [ended] = await first.submit(make_submission(key="again"))
    ref = (await agent.task()).ref
    await give(first, ended, "in", b"of a task that has ended")
    await agent.finish(ref)
    await upload(first, b"nobody's")
    header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        assert await second.status(ended) is TaskStatus.COMPLETED
        assert await second.manager.artifacts.list(ended) == []
        assert await second.manager.blobs.page(None, "", 10) == ([], "")
    assert (header.blobs, header.blobs_left_out, header.version) == (0, 0, 1)


async def test_blobs_up_to_a_size_are_in_it_and_the_next_larger_one_is_named(first: Checkpointed) -> None:
    [task_id] = await first.submit()
    fits = await give(first, task_id, "fits", b"x" * MOST_BLOB_BYTES)
    larger = await give(first, task_id, "larger", b"x" * (MOST_BLOB_BYTES + 1))
    state = await save_state(first, "site", b"y" * (MOST_BLOB_BYTES + 1))
    header = await first.manager.checkpoints.take()

    assert (header.blobs, header.blob_bytes, header.blobs_left_out) == (1, MOST_BLOB_BYTES, 2)
    assert {(one.sha256, one.size, one.why, one.task_id, one.name, one.workspace) for one in header.left_out} == {
        (larger, MOST_BLOB_BYTES + 1, LeftOutWhy.TOO_LARGE, task_id, "larger", ""),
        (state.sha256, MOST_BLOB_BYTES + 1, LeftOutWhy.TOO_LARGE, "", "", "site"),
    }
    assert await first.manager.checkpoints.verify(header.id) == header
    assert await first.manager.checkpoints.all() == [header]
    assert {sha256 for sha256, _ in pieces_in(first.file(header.id))} == {fits}


async def test_only_so_many_bytes_together_are_in_it_the_smallest_blobs_first(tmp_path: Path) -> None:
    exactly = Bounds(blob_bytes=100, bytes=30, blobs=100)
    assert (BOUNDS.blob_bytes, BOUNDS.bytes, BOUNDS.blobs) == (MOST_BLOB_BYTES, MOST_BYTES, MOST_BLOBS)
    async with checkpointed_core(tmp_path / "first", bounds=exactly) as first:
        [task_id] = await first.submit()
        for size in (20, 10):
            await give(first, task_id, f"of-{size}", b"x" * size)
        whole = await first.manager.checkpoints.take()
        largest = await give(first, task_id, "of-21", b"x" * 21)
        await give(first, task_id, "of-1", b"x")
        lacking = await first.manager.checkpoints.take()

    assert (whole.blobs, whole.blob_bytes, whole.blobs_left_out) == (2, 30, 0)
    assert (lacking.blobs, lacking.blob_bytes, lacking.blobs_left_out) == (2, 11, 2)
    assert [(one.name, one.why) for one in lacking.left_out] == [
        ("of-20", LeftOutWhy.NO_ROOM),
        ("of-21", LeftOutWhy.NO_ROOM),
    ]
    assert lacking.left_out[1].sha256 == largest


async def test_only_so_many_blobs_are_in_it_and_all_that_it_lacks_are_counted(tmp_path: Path) -> None:
    async with checkpointed_core(tmp_path / "first", bounds=Bounds(blobs=2)) as first:
        ids = await first.submit(*(make_submission() for _ in range(2)))
        for number in range(MOST_LEFT_OUT + 3):
            await give(first, ids[number % 2], f"n{number}", str(number).encode())
        header = await first.manager.checkpoints.take()

        assert (header.blobs, header.blobs_left_out) == (2, MOST_LEFT_OUT + 1)
        assert len(header.left_out) == MOST_LEFT_OUT
        assert await first.manager.checkpoints.verify(header.id) == header


async def test_what_it_lacks_is_refused_by_name_until_somebody_brings_it(tmp_path: Path) -> None:
    async with checkpointed_core(tmp_path / "first", bounds=Bounds(blob_bytes=3)) as first:
        await first.manager.workspaces.create("site", pool="default", mode="agent")
        [task_id] = await first.submit(make_submission(workspace="site"))
        sha256 = await give(first, task_id, "in", b"bytes")
        state = await save_state(first, "site", b"state")
        header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", load=first.file(header.id)) as second:
        [artifact] = await second.manager.artifacts.list(task_id)
        assert (artifact.sha256, artifact.size) == (sha256, 5)
        assert (await second.manager.workspace_states.get("site")).etag == state.etag
        for lacking in (sha256, state.sha256):
            with pytest.raises(BlobNotFound, match=f"the bytes of the blob {lacking} are not here"):
                await second.manager.blobs.open(lacking, workspaces={"site"})
        again = await second.manager.checkpoints.take()
        assert [(one.sha256, one.why) for one in again.left_out if one.size == 5] == [
            (one, LeftOutWhy.MISSING) for one in sorted([sha256, state.sha256])
        ]

        assert await upload(second, b"bytes") == sha256  # as `artifacts upload` does: for no workspace
        reading = await second.manager.blobs.open(sha256, workspaces={"site"})
        assert await reading.read(0, 10) == b"bytes"
        reading.close()
        await second.manager.blobs.sweep()
        assert {blob.workspace for blob in await second.manager.blobs.get(sha256)} == {"", "site"}


async def test_what_it_lacks_may_be_there_before_it_is_loaded(tmp_path: Path) -> None:
    async with checkpointed_core(tmp_path / "first", bounds=Bounds(blob_bytes=3)) as first:
        await first.manager.workspaces.create("site", pool="default", mode="agent")
        state = await save_state(first, "site", b"state")
        header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second") as second:
        await upload(second, b"state")
        assert await second.shelf.load_file(first.file(header.id), now=second.clock.now(), as_waiting=False)
        reading = await second.manager.blobs.open(state.sha256, workspaces={"site"})
        reading.close()
        assert (await second.manager.checkpoints.take()).blobs_left_out == 0


async def test_bytes_that_are_damaged_on_the_disk_or_gone_are_left_out_by_name(first: Checkpointed) -> None:
    [task_id] = await first.submit()
    good, changed, shorter, gone = [
        await give(first, task_id, name, name.encode()) for name in ("good", "changed", "shorter", "gone")
    ]
    _blob(first, changed).write_bytes(b"chanced")
    _blob(first, shorter).write_bytes(b"short")
    _blob(first, gone).unlink()
    header = await first.manager.checkpoints.take()

    assert header.blobs == 1
    assert {(one.sha256, one.why) for one in header.left_out} == {
        (changed, LeftOutWhy.DAMAGED),
        (shorter, LeftOutWhy.DAMAGED),
        (gone, LeftOutWhy.MISSING),
    }
    assert {sha256 for sha256, _ in pieces_in(first.file(header.id))} == {good}


async def test_a_server_that_has_a_blob_already_loads_it_whatever_its_quota_says(
    first: Checkpointed, tmp_path: Path
) -> None:
    [task_id] = await first.submit()
    sha256 = await give(first, task_id, "in", b"bytes")
    await give(first, task_id, "more", b"more")
    header = await first.manager.checkpoints.take()
    other = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second", options=Options(blob_quota=5)) as second:
        await upload(second, b"bytes")
        _blob(second, sha256).write_bytes(b"rotten")  # what is known to be right takes its place
        await second.manager.pause(SCHEDULER)
        content = await first.manager.checkpoints.content(header.id)
        loaded = await second.manager.resume_from(SCHEDULER, content=content)
        assert (loaded.was_paused, loaded.loaded, loaded.checkpoint) == (True, True, header)
        assert await bytes_of(second, sha256) == b"bytes"

        await second.manager.pause(SCHEDULER)
        _blob(second, sha256).unlink()
        again = await second.manager.resume_from(SCHEDULER, checkpoint_id=header.id)
        assert (again.loaded, again.checkpoint) == (False, header)
        with pytest.raises(ServerNotEmpty):
            await second.shelf.load_file(first.file(other.id), now=0, as_waiting=False)
        assert sha256 not in blobs_on_disk(second.directory)  # nothing was done


async def test_the_state_of_a_workspace_is_that_of_the_checkpoint(first: Checkpointed, tmp_path: Path) -> None:
    state = await save_state(first, "site", b"theirs")
    header = await first.manager.checkpoints.take()

    async with checkpointed_core(tmp_path / "second") as second:
        for name in ("site", "other"):
            await second.manager.workspaces.create(name, pool="default", mode="agent")
            await save_state(second, name, b"one")
        await save_state(second, "site", b"two")
        kept = await save_state(second, "other", b"two")
        await second.manager.pause(SCHEDULER)
        await second.manager.checkpoints.keep(await first.manager.checkpoints.content(header.id))
        assert await second.manager.load_checkpoint(header.id)
        assert await second.manager.workspace_states.list("site") == [state]
        _blob(second, state.sha256).unlink()
        assert not await second.manager.load_checkpoint(header.id)
        assert state.sha256 not in blobs_on_disk(second.directory)  # nothing was done
        assert (await second.manager.workspace_states.get("other")).etag == kept.etag


async def test_an_artifact_a_state_and_late_bytes_are_changes(first: Checkpointed) -> None:
    [task_id] = await first.submit()
    sha256, other = await upload(first, b"bytes"), await upload(first, b"other", "site")
    last = await first.manager.checkpoints.take()
    assert await _if_changed(first, last) is None

    artifact = Artifact(name="in", attempt=0, sha256=sha256, size=5, created_at=1)
    await first.manager.ledger.commit(
        keepings=[new_artifact(task_id, artifact)]
    )  # and nothing else, as if it came after the bytes
    with_artifact = await _if_changed(first, last)
    state = WorkspaceState(workspace="site", version=1, sha256=other, size=5, created_at=1)
    await first.manager.ledger.commit(keepings=[new_state(state, after=0)])
    with_state = await _if_changed(first, with_artifact)
    _blob(first, sha256).unlink()
    lacking = await first.manager.checkpoints.take()
    await upload(first, b"bytes")
    whole = await _if_changed(first, lacking)

    counts = [(one.blobs, one.blobs_left_out) for one in (with_artifact, with_state, lacking, whole) if one]
    assert counts == [(1, 0), (2, 0), (1, 1), (2, 0)]


async def _if_changed(core: Checkpointed, last: CheckpointHeader | None) -> CheckpointHeader | None:
    """One that is taken if anything has changed since another."""
    assert last is not None
    return await core.shelf.take(replace(last, id=f"{last.id}-"), keep=9, unless=last.fingerprint)


def _blob(core: Checkpointed, sha256: str) -> Path:
    return core.directory / "blobs" / sha256[:2] / sha256
