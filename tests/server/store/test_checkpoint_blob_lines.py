"""The lines of a checkpoint that hold blobs: not too long, checked each, before the rows; and files without them."""

from __future__ import annotations

import json
import os
import random
import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from nodelink.checkpoint import HEADER_BYTES, CheckpointHeader, CheckpointRefused, Defect
from nodelink.checkpoint_blobs import PIECE_BYTES, Piece, piece_line
from nodelink.checkpoint_file import READ_BYTES, BodyWriter, lines
from nodelink_server.core.blobs import PARTS, UPLOAD_KEPT_MS
from nodelink_server.core.ports import TaskQuery
from nodelink_server.store.checkpoint_blobs import MOST_BLOB_BYTES
from nodelink_server.store.checkpoint_tables import OF_BLOBS
from nodelink_server.store.checkpoint_taking import MOST_LINE_CHARS
from tests.support.blobs_given import blobs_on_disk, digest_of, give, pieces_in
from tests.support.checkpointed import Checkpointed, checkpointed_core
from tests.support.frozen import PLACE

OLD = PLACE / "checkpoint_1/queue.checkpoint"


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[Checkpointed]:
    async with checkpointed_core(tmp_path / "first") as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        yield core


GOOD = digest_of(b"good")
WHOLE = [Piece(GOOD, 4, 0, b"go"), Piece(GOOD, 4, 2, b"od")]
BROKEN: Mapping[str, Sequence[Piece]] = {
    f"the bytes of the blob {GOOD} have another digest": [Piece(GOOD, 4, 0, b"evil")],
    f"the blob {GOOD} has no end": WHOLE[:1],
    f"the bytes of the blob {GOOD} are not in order": WHOLE[1:],
    f"the bytes of the blob {GOOD} are not in order ": [Piece(GOOD, 4, 0, b"goods")],
    "it has 2 blobs of the 3": WHOLE,
    "the name of a blob in it is no SHA-256": [Piece("../evil", 4, 0, b"good")],
}


@pytest.mark.parametrize("why", BROKEN, ids=range(len(BROKEN)))
async def test_a_blob_that_is_not_whole_is_refused_by_name_and_nothing_is_changed(why: str, tmp_path: Path) -> None:
    path = tmp_path / "made"
    pieces = [Piece(digest_of(b"other"), 5, 0, b"other"), *BROKEN[why]]
    _write(path, list(map(piece_line, pieces)), blobs=3)

    async with checkpointed_core(tmp_path / "second") as core:
        with pytest.raises(CheckpointRefused) as refusal:
            await core.shelf.load_file(path, now=0, as_waiting=False)
        assert refusal.value.defect is Defect.DAMAGED
        assert why.strip() in str(refusal.value)
        assert blobs_on_disk(core.directory) == []
        await core.submit()


async def test_bytes_that_came_before_rows_that_were_refused_are_swept_away(tmp_path: Path) -> None:
    path = tmp_path / "made"
    rockets = {"table": "rockets", "columns": [], "rows": []}
    _write(path, [piece_line(Piece(GOOD, 4, 0, b"good")), rockets], blobs=1)

    async with checkpointed_core(tmp_path / "second") as core:
        with pytest.raises(CheckpointRefused):
            await core.shelf.load_file(path, now=0, as_waiting=False)
        arriving = core.directory / f"blobs/uploads/{digest_of(b'half')}.4.~checkpoint"  # as a crash leaves it
        arriving.write_bytes(b"ha")
        long_ago = core.clock.now() / 1000 - UPLOAD_KEPT_MS / 1000 - 60
        os.utime(arriving, (long_ago, long_ago))
        assert len(blobs_on_disk(core.directory)) == 2
        for _ in range(PARTS):
            await core.manager.blobs.sweep()
        assert blobs_on_disk(core.directory) == []


async def test_bytes_are_in_lines_that_are_not_too_long(first: Checkpointed) -> None:
    [task_id] = await first.submit()
    await give(first, task_id, "in", random.Random(1).randbytes(MOST_BLOB_BYTES))
    header = await first.manager.checkpoints.take()

    pieces = pieces_in(first.file(header.id))
    assert len(pieces) > 80
    assert max(len(data) for _, data in pieces) <= MOST_LINE_CHARS


def test_what_is_packed_small_takes_little_room_when_it_is_read(tmp_path: Path) -> None:
    zeros = bytes(PIECE_BYTES)
    size = 32 * 1024 * 1024
    pieces = (Piece(GOOD, size, offset, zeros) for offset in range(0, size, PIECE_BYTES))
    _write(tmp_path / "made", list(map(piece_line, pieces)), blobs=1)

    with (tmp_path / "made").open("rb") as file:
        tracemalloc.start()
        try:
            assert len(set(map(len, lines(file)))) == 1
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (tmp_path / "made").stat().st_size < READ_BYTES + HEADER_BYTES
    assert peak < size / 4


async def test_one_of_the_previous_format_is_loaded(tmp_path: Path) -> None:
    async with checkpointed_core(tmp_path / "second", load=OLD) as second:
        there, own = [record.task for record in await second.manager.list(TaskQuery())]
        assert (own.spec.workspace, there.spec.workspace) == ("", "site")
        assert second.manager.limits.get("pool:default").most == 7
        assert await second.manager.artifacts.list(own.id) == []


async def test_one_without_blobs_is_as_an_older_nodelink_reads_it(first: Checkpointed) -> None:
    await first.submit()
    header = await first.manager.checkpoints.take()

    with OLD.open("rb") as old, first.file(header.id).open("rb") as new:
        assert _names_in_header(new) == _names_in_header(old)
        assert not {line["table"] for line in lines(new)} & set(OF_BLOBS)


def _names_in_header(file: BinaryIO) -> list[str]:
    file.seek(0)
    return list(json.loads(file.read(HEADER_BYTES)))


def _write(path: Path, body: Sequence[Mapping[str, Any]], *, blobs: int) -> None:
    """A checkpoint with these lines, whole by its digest."""
    asked = {"cluster_id": "", "why": "asked", "taken_at": 1, "start_number": 1, "control_ms": 1, "revision": 1}
    numbers = {"last_key": 0, "complete": False, "waiting": 0, "running": 0, "tasks": 0}
    size = sum(line["size"] for line in body if line.get("offset") == 0)
    with path.open("w+b") as file:
        writer = BodyWriter(file)
        for line in body:
            writer.line(line)
        writer.finish(CheckpointHeader(id="c1", blobs=blobs, blob_bytes=size, **asked, **numbers))  # type: ignore[arg-type]
