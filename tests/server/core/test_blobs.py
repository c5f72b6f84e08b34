"""Blobs in the core: announced, taken in piece by piece, counted, read, and let go when they stand for nothing."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from nodelink.errors import (
    BlobConflict,
    BlobNotFound,
    DigestMismatch,
    InvalidTask,
    NodelinkError,
    Overloaded,
    QuotaExceeded,
    StoreUnavailable,
    TooLarge,
    WorkspaceNotFound,
)
from nodelink_server.core.assembly import Options
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES, UploadName
from nodelink_server.core.blobs import (
    FRESH_MS,
    MAX_BLOB_BYTES,
    MOST_TRANSFERS,
    MOST_UPLOADS,
    PARTS,
    UPLOAD_KEPT_MS,
    Upload,
)
from tests.support.core_parts import Core, Database, running_core

DATA = b"0123456789" * 10
KEPT_SECONDS = 1_000.0
OPTIONS = Options(blob_quota=1_000, blob_retention=KEPT_SECONDS, cleanup_interval=10.0)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def name_of(data: bytes, workspace: str = "") -> UploadName:
    return UploadName(digest(data), len(data), workspace)


NAME = name_of(DATA)


async def put(core: Core, data: bytes, workspace: str = "") -> Upload:
    """Upload it in one piece."""
    name = name_of(data, workspace)
    upload = await core.manager.blobs.announce(name)
    return upload if upload.is_complete else await core.manager.blobs.append(name, upload.offset, data[upload.offset :])


async def read(core: Core, sha256: str) -> bytes:
    reading = await core.manager.blobs.open(sha256)
    try:
        return await reading.read(0, reading.size)
    finally:
        reading.close()


async def refused(core: Core, data: bytes, workspace: str = "") -> NodelinkError:
    with pytest.raises(NodelinkError) as error:
        await put(core, data, workspace)
    return error.value


async def site(core: Core, *names: str) -> None:
    for name in names or ("site",):
        await core.manager.workspaces.create(name, pool="default", mode="agent")


async def test_what_comes_in_pieces_is_read_as_a_whole() -> None:
    async with running_core(options=OPTIONS) as core:
        blobs = core.manager.blobs
        assert await blobs.announce(NAME) == Upload(NAME, 0, is_complete=False)
        assert await blobs.append(NAME, 0, DATA[:30]) == Upload(NAME, 30, is_complete=False)
        assert await blobs.announce(NAME) == Upload(NAME, 30, is_complete=False)
        assert await blobs.append(NAME, 30, DATA[30:]) == Upload(NAME, 100, is_complete=True)
        assert await read(core, NAME.sha256) == DATA
        [blob] = await blobs.get(NAME.sha256)
        assert (blob.size, blob.workspace) == (100, "")
        assert (core.manager.tally.blob_bytes["written"], core.manager.tally.blob_bytes["read"]) == (100, 100)


async def test_what_the_server_has_need_not_come_again() -> None:
    async with running_core(options=OPTIONS) as core:
        await site(core)
        await put(core, DATA)
        assert (await core.manager.blobs.announce(NAME)).is_complete
        assert (await core.manager.blobs.announce(name_of(DATA, "site"))).is_complete
        assert await core.manager.blobs.used("site") == 100


async def test_an_upload_goes_on_after_a_restart() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        await core.manager.blobs.append(NAME, 0, DATA[:30])
    async with running_core(database, options=OPTIONS) as core:
        assert (await core.manager.blobs.append(NAME, 30, DATA[30:60])).offset == 60
        assert (await core.manager.blobs.announce(NAME)).offset == 60


async def test_a_piece_that_does_not_follow_is_refused_and_changes_nothing() -> None:
    async with running_core(options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        await core.manager.blobs.append(NAME, 0, DATA[:30])
        for offset in (0, 29, 31):
            with pytest.raises(BlobConflict, match="at offset 30"):
                await core.manager.blobs.append(NAME, offset, b"x")
        assert (await core.manager.blobs.append(NAME, 30, DATA[30:])).is_complete


async def test_the_last_piece_may_come_again() -> None:
    async with running_core(options=OPTIONS) as core:
        await put(core, DATA)
        assert (await core.manager.blobs.append(NAME, 90, DATA[90:])).is_complete


async def test_of_two_who_send_the_same_piece_one_is_told_where_it_goes_on() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        database.hold("blob append")
        pieces = [asyncio.create_task(core.manager.blobs.append(NAME, 0, DATA[:30])) for _ in range(2)]
        await database.until_held("blob append")
        await asyncio.sleep(1)
        database.let_go("blob append")
        outcomes = await asyncio.gather(*pieces, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Upload, BlobConflict}
        assert (await core.manager.blobs.append(NAME, 30, DATA[30:])).is_complete


async def test_what_is_not_what_was_announced_is_refused_and_gone() -> None:
    async with running_core(options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        with pytest.raises(DigestMismatch):
            await core.manager.blobs.append(NAME, 0, DATA[:-1] + b"x")
        with pytest.raises(BlobNotFound):
            await core.manager.blobs.get(NAME.sha256)
        with pytest.raises(BlobNotFound):
            await core.manager.blobs.append(NAME, 0, DATA)
        assert await core.manager.blobs.used("") == 0
        assert (await put(core, DATA)).is_complete


async def test_a_digest_has_one_size() -> None:
    async with running_core(options=OPTIONS) as core:
        await put(core, DATA)
        with pytest.raises(DigestMismatch, match="has 100 bytes, not 99"):
            await core.manager.blobs.announce(UploadName(NAME.sha256, 99))


async def test_no_bytes_are_a_blob_at_once() -> None:
    async with running_core(options=OPTIONS) as core:
        assert (await core.manager.blobs.announce(name_of(b""))).is_complete
        assert await read(core, digest(b"")) == b""


@pytest.mark.parametrize(
    "name, wrong",
    [
        (UploadName("0" * 63, 1), InvalidTask),
        (UploadName("A" * 64, 1), InvalidTask),
        (UploadName("../" + "0" * 61, 1), InvalidTask),
        (UploadName("0" * 64, -1), TooLarge),
        (UploadName("0" * 64, MAX_BLOB_BYTES + 1), TooLarge),
        (UploadName("0" * 64, 1, "nobody's"), WorkspaceNotFound),
        (UploadName("0" * 64, 1, "../site"), WorkspaceNotFound),
    ],
)
async def test_what_can_be_no_blob_is_refused(name: UploadName, wrong: type[NodelinkError]) -> None:
    async with running_core(options=OPTIONS) as core:
        with pytest.raises(wrong):
            await core.manager.blobs.announce(name)
        with pytest.raises(wrong):
            await core.manager.blobs.append(name, 0, b"x")


async def test_what_can_be_no_piece_is_refused() -> None:
    async with running_core() as core:
        name = UploadName("0" * 64, 2 * MAX_CHUNK_BYTES)
        await core.manager.blobs.announce(name)
        for offset, data in ((0, b""), (-1, b"x"), (2 * MAX_CHUNK_BYTES, b"x")):
            with pytest.raises(InvalidTask):
                await core.manager.blobs.append(name, offset, data)
        with pytest.raises(TooLarge):
            await core.manager.blobs.append(name, 0, bytes(MAX_CHUNK_BYTES + 1))
        assert (await core.manager.blobs.append(name, 0, bytes(MAX_CHUNK_BYTES))).offset == MAX_CHUNK_BYTES


async def test_a_workspace_has_as_much_as_its_quota_and_no_more() -> None:
    async with running_core(options=OPTIONS) as core:
        await site(core, "site", "lab")
        await put(core, b"a" * 600, "site")
        assert isinstance(await refused(core, b"b" * 401, "site"), QuotaExceeded)
        assert (await put(core, b"b" * 400, "site")).is_complete
        refusal = await refused(core, b"c", "site")
        assert isinstance(refusal, QuotaExceeded)
        assert refusal.retry_after
        assert (await put(core, b"c", "lab")).is_complete
        assert (await put(core, b"a" * 600, "site")).is_complete  # it has that already


async def test_what_is_announced_counts_before_it_comes() -> None:
    async with running_core(options=OPTIONS) as core:
        await core.manager.blobs.announce(name_of(b"a" * 600))
        assert isinstance(await refused(core, b"b" * 401), QuotaExceeded)
        assert await core.manager.blobs.used("") == 600
        await core.manager.blobs.announce(name_of(b"a" * 600))


async def test_what_another_workspace_has_counts_for_who_wants_it_too() -> None:
    async with running_core(options=OPTIONS) as core:
        await site(core)
        await put(core, b"a" * 600)
        await put(core, b"b" * 500, "site")
        assert isinstance(await refused(core, b"a" * 600, "site"), QuotaExceeded)


async def test_a_disk_without_room_refuses_what_is_announced_and_says_when_to_come_again() -> None:
    database = Database()
    database.disk.blobs.room = 150
    async with running_core(database, options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        refusal = await refused(core, b"x" * 51)
        assert isinstance(refusal, StoreUnavailable)
        assert refusal.retry_after
        assert (await put(core, b"x" * 50)).is_complete


async def test_a_disk_that_fills_up_under_way_keeps_what_is_there() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        await core.manager.blobs.append(NAME, 0, DATA[:30])
        database.disk.blobs.room = 10
        with pytest.raises(StoreUnavailable):
            await core.manager.blobs.append(NAME, 30, DATA[30:])
        database.disk.blobs.room = 1_000
        assert (await core.manager.blobs.append(NAME, 30, DATA[30:])).is_complete


@pytest.mark.parametrize("deed", ["blob seal", "blob place", "blob keep"])
async def test_what_has_all_come_is_completed_later_if_the_disk_fails_at_the_end(deed: str) -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        database.failing.add(deed)
        with pytest.raises(StoreUnavailable):
            await core.manager.blobs.append(NAME, 0, DATA)
        database.failing.clear()
        assert (await core.manager.blobs.announce(NAME)).is_complete
        assert await read(core, NAME.sha256) == DATA


async def test_there_are_so_many_uploads_and_no_more() -> None:
    async with running_core() as core:
        for number in range(MOST_UPLOADS):
            await core.manager.blobs.announce(name_of(b"%d" % number))
        with pytest.raises(Overloaded):
            await core.manager.blobs.announce(NAME)
        await put(core, b"0")
        await core.manager.blobs.announce(NAME)


async def test_so_many_read_at_a_time_and_no_more() -> None:
    async with running_core() as core:
        await put(core, DATA)
        readings = [await core.manager.blobs.open(NAME.sha256) for _ in range(MOST_TRANSFERS)]
        with pytest.raises(Overloaded):
            await core.manager.blobs.open(NAME.sha256)
        for reading in readings:
            reading.close()
            reading.close()
        assert await read(core, NAME.sha256) == DATA


async def test_only_those_read_it_who_have_it_if_that_is_asked() -> None:
    async with running_core() as core:
        await site(core)
        await put(core, DATA, "site")
        (await core.manager.blobs.open(NAME.sha256, workspaces={"", "site"})).close()
        with pytest.raises(BlobNotFound):
            await core.manager.blobs.open(NAME.sha256, workspaces={""})


async def test_a_blob_that_has_lost_bytes_is_not_read_as_a_shorter_one() -> None:
    database = Database()
    async with running_core(database) as core:
        await put(core, DATA)
        reading = await core.manager.blobs.open(NAME.sha256)
        reading.size += 1
        with pytest.raises(StoreUnavailable):
            await reading.read(len(DATA), 1)
        reading.close()


async def test_what_nobody_uses_goes_after_its_time() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        await put(core, DATA)
        await asyncio.sleep(KEPT_SECONDS - 20)
        assert await read(core, NAME.sha256) == DATA
        await asyncio.sleep(40)
        with pytest.raises(BlobNotFound):
            await read(core, NAME.sha256)
        assert database.disk.blobs.bytes == {}
        assert core.manager.tally.blobs_removed == 1


async def test_what_is_announced_or_read_again_stays_longer() -> None:
    async with running_core(options=Options(blob_retention=2.5 * FRESH_MS / 1000)) as core:
        await put(core, DATA)
        for use in (core.manager.blobs.announce(NAME), read(core, NAME.sha256)):
            core.clock.skew_ms += 2 * FRESH_MS
            await use
            await core.manager.blobs.sweep()
        core.clock.skew_ms += 2 * FRESH_MS
        await core.manager.blobs.sweep()
        assert await read(core, NAME.sha256) == DATA


async def test_an_upload_that_does_not_go_on_is_forgotten() -> None:
    database = Database()
    async with running_core(database) as core:
        await core.manager.blobs.announce(NAME)
        await core.manager.blobs.append(NAME, 0, DATA[:30])
        core.clock.skew_ms += UPLOAD_KEPT_MS - 1_000
        assert (await core.manager.blobs.append(NAME, 30, DATA[30:40])).offset == 40
        core.clock.skew_ms += UPLOAD_KEPT_MS - 1_000
        await core.manager.blobs.sweep()
        assert database.disk.blobs.uploads
        core.clock.skew_ms += 2_000
        await core.manager.blobs.sweep()
        assert not database.disk.blobs.uploads
        with pytest.raises(BlobNotFound):
            await core.manager.blobs.append(NAME, 40, DATA[40:])


async def test_an_upload_that_others_have_overtaken_is_complete_and_leaves_nothing() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        await site(core)
        await core.manager.blobs.announce(NAME)
        await core.manager.blobs.append(NAME, 0, DATA[:30])
        await put(core, DATA, "site")
        assert (await core.manager.blobs.announce(NAME)).is_complete
        assert database.disk.blobs.uploads == {}


async def test_bytes_that_a_crash_has_left_to_nobody_are_found_in_time() -> None:
    database = Database()
    database.disk.blobs.bytes[NAME.sha256] = DATA
    async with running_core(database) as core:
        for _ in range(PARTS):
            await core.manager.blobs.sweep()
        assert database.disk.blobs.bytes == {}


async def test_bytes_that_a_crash_has_left_to_nobody_need_not_come_again() -> None:
    database = Database()
    database.disk.blobs.bytes[NAME.sha256] = DATA
    async with running_core(database, options=OPTIONS) as core:
        assert (await core.manager.blobs.announce(NAME)).is_complete
        assert await core.manager.blobs.used("") == 100


async def test_so_many_pieces_are_written_at_a_time_and_no_more() -> None:
    database = Database()
    async with running_core(database) as core:
        names = [name_of(b"%d" % number) for number in range(10, MOST_TRANSFERS + 11)]
        for name in names:
            await core.manager.blobs.announce(name)
        database.hold("blob append")
        pieces = [
            asyncio.create_task(core.manager.blobs.append(name, 0, b"%d" % number))
            for number, name in enumerate(names[:-1], start=10)
        ]
        await asyncio.sleep(1)
        with pytest.raises(Overloaded):
            await core.manager.blobs.append(names[-1], 0, b"%d" % (MOST_TRANSFERS + 10))
        database.let_go("blob append")
        assert all(upload.is_complete for upload in await asyncio.gather(*pieces))


async def test_a_clean_up_that_cannot_let_blobs_go_does_it_the_next_time() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        await put(core, DATA)
        database.failing.add("blob forget")
        await asyncio.sleep(KEPT_SECONDS + 20)
        assert database.disk.blobs.bytes
        database.failing.clear()
        await asyncio.sleep(20)
        assert database.disk.blobs.bytes == {}


async def test_a_caller_who_leaves_leaves_nothing_half_done() -> None:
    async with running_core(options=OPTIONS) as core:
        await core.manager.blobs.announce(NAME)
        piece = asyncio.create_task(core.manager.blobs.append(NAME, 0, DATA[:30]))
        await asyncio.sleep(0)
        piece.cancel()
        await asyncio.sleep(1)
        assert (await core.manager.blobs.announce(NAME)).offset == 30
