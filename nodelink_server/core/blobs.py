"""Blobs: what workspaces have, how it comes in a piece at a time, how it is read, and when it goes.

What changes which blobs there are is done one after the other, each to its end (`core/errands.py`), so that nothing is
let go while somebody comes to have it. The pieces of one upload follow each other; those of several do not wait for one
another. A blob goes when it stands for nothing and was not used for as long as is set.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from nodelink.errors import (
    BlobConflict,
    BlobNotFound,
    DigestMismatch,
    FieldError,
    InvalidTask,
    Overloaded,
    QuotaExceeded,
    StoreUnavailable,
    TooLarge,
)
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES, Blob, BlobReader, BlobStore, UploadName
from nodelink_server.core.deeds import LOCAL, Deed
from nodelink_server.core.errands import Errands
from nodelink_server.core.ports import Clock
from nodelink_server.core.tally import Tally
from nodelink_server.core.workspaces import Workspaces

DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_BLOB_BYTES = 1 << 40
MOST_UPLOADS = 1_000
MOST_TRANSFERS = 64
"""How many pieces are written at a time, and how many blobs are read: each has a piece in memory."""
UPLOAD_KEPT_MS = 24 * 3600 * 1000
"""How long an upload stays that does not go on."""
FRESH_MS = 3600 * 1000
"""So often it is written down that a blob is read."""
PORTION = 100
FULL_SECONDS = 60.0
PARTS = 256

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """How far an upload has come. `is_complete`: it is a blob, durably."""

    name: UploadName
    offset: int
    is_complete: bool


@dataclass(slots=True)
class _UnderWay:
    """An upload that is not complete. Whoever moves it on holds the lock."""

    name: UploadName
    offset: int
    touched_at: int
    is_over: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Reading:
    """A blob that is being read. It has to be closed."""

    def __init__(self, reader: BlobReader, ended: asyncio.Semaphore, tally: Tally) -> None:
        self._reader: BlobReader | None = reader
        self._ended = ended
        self._tally = tally
        self.size = reader.size

    async def read(self, offset: int, length: int) -> bytes:
        """So many bytes from an offset on, a piece at most; none at its end. Raises `StoreUnavailable`."""
        assert self._reader is not None
        data = await self._reader.read(offset, min(length, MAX_CHUNK_BYTES))
        if not data and offset < self.size and length:
            raise StoreUnavailable("the bytes of the blob have become fewer on the disk")
        self._tally.blob_bytes["read"] += len(data)
        return data

    def close(self) -> None:
        """Let go of it."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            self._ended.release()


class Blobs:
    """Takes blobs in, gives them out, and lets them go. `quota`: how many bytes a workspace may have."""

    def __init__(
        self,
        *,
        store: BlobStore,
        workspaces: Workspaces,
        errands: Errands,
        clock: Clock,
        tally: Tally,
        quota: int,
        kept_seconds: float,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._errands = errands
        self._clock = clock
        self._tally = tally
        self._kept_ms = round(kept_seconds * 1000)
        self._uploads: dict[UploadName, _UnderWay] = {}
        self._is_loaded = False
        self._deeds: set[asyncio.Task[Any]] = set()
        self._writings = asyncio.Semaphore(MOST_TRANSFERS)
        self._readings = asyncio.Semaphore(MOST_TRANSFERS)
        self._next_part = 0
        self.quota = quota

    # -- in -----------------------------------------------------------------------------------------------------------

    async def announce(self, name: UploadName, *, by: str = LOCAL) -> Upload:
        """Say what will come, and hear how much of it is there: all of it, if the server has it already.

        Raises `InvalidTask`, `TooLarge`, `WorkspaceNotFound`, `DigestMismatch` if the digest is known to be of another
        size, `QuotaExceeded`, `Overloaded`, and `StoreUnavailable` if the disk has no room.
        """
        self._check(name)
        await self._load()
        upload = await self._errands.do(partial(self._announce, name, by))
        under_way = self._uploads.get(name)
        if under_way is not None and under_way.offset == name.size:  # it was too late, or the disk full, before
            return await self._to_the_end(self._move_on(under_way, name.size, b"", by))
        return upload

    async def append(self, name: UploadName, offset: int, data: bytes, *, by: str = LOCAL) -> Upload:
        """Put the next piece of an upload behind those that are there. With the last one it is complete, and durable.

        Raises `BlobConflict` if it does not go on there, `BlobNotFound` if it was not announced, `DigestMismatch` if
        all is there and is not what was announced: then it is gone; `InvalidTask`, `TooLarge`, `QuotaExceeded`,
        `Overloaded`, and `StoreUnavailable`: what was there before still is.
        """
        self._check(name)
        check_piece(name, offset, data)
        await self._load()
        under_way = self._uploads.get(name)
        if under_way is None:
            return await self._complete_already(name)
        if self._writings.locked():
            raise _crowded()
        return await self._to_the_end(self._move_on(under_way, offset, data, by))

    async def have(self, sha256: str, workspace: str, *, by: str = LOCAL) -> Blob:
        """The blob as a workspace has it; if only others have it, it has it too from now on.

        Raises `BlobNotFound`, `InvalidTask`, `WorkspaceNotFound`, `QuotaExceeded`, `Overloaded`, `StoreUnavailable`.
        """
        check_digest(sha256)
        size = await self._store.size_of(sha256)
        if size is None:
            raise not_found(sha256)
        await self.announce(UploadName(sha256, size, workspace), by=by)
        found = [blob for blob in await self._store.find(sha256) if blob.workspace == workspace]
        if not found:
            raise not_found(sha256)
        return found[0]

    def _check(self, name: UploadName) -> None:
        check_digest(name.sha256)
        if not 0 <= name.size <= MAX_BLOB_BYTES:
            raise TooLarge(FieldError("size", f"must be 0 to {MAX_BLOB_BYTES:,} bytes"))
        if name.workspace:
            self._workspaces.get(name.workspace)

    async def _announce(self, name: UploadName, by: str) -> Upload:
        now = self._clock.now()
        size = await self._store.size_of(name.sha256)
        if size not in {None, name.size}:
            raise DigestMismatch(f"the blob with this digest has {size:,} bytes, not {name.size:,}")
        known = [blob for blob in await self._store.find(name.sha256) if blob.workspace == name.workspace]
        under_way = self._uploads.get(name)
        if size is not None:
            if not known:
                await self._check_quota(name)
            await self._keep(name, by)
            if under_way is not None and not under_way.lock.locked():  # others were faster
                await self._abandon(under_way)
            return Upload(name, name.size, is_complete=True)
        if under_way is None:
            if not known:
                await self._check_quota(name)
            await self._check_room(name)
            under_way = self._uploads[name] = _UnderWay(name, 0, now)
        under_way.touched_at = now
        return Upload(name, under_way.offset, is_complete=False)

    async def _check_quota(self, name: UploadName) -> None:
        coming = sum(one.size for one in self._uploads if one.workspace == name.workspace and one != name)
        used = await self._store.used(name.workspace) + coming
        if used + name.size <= self.quota:
            return
        whose = f"workspace {name.workspace!r} has" if name.workspace else "those of no workspace have"
        message = f"{whose} {used:,} bytes of the {self.quota:,} that are allowed: there is no room for {name.size:,}"
        raise QuotaExceeded(message, retry_after=FULL_SECONDS)

    async def _check_room(self, name: UploadName) -> None:
        if len(self._uploads) >= MOST_UPLOADS:
            raise Overloaded(f"there are {MOST_UPLOADS:,} uploads under way already", retry_after=FULL_SECONDS)
        coming = sum(one.name.size - one.offset for one in self._uploads.values())
        if await self._store.room() < coming + name.size:
            message = f"the disk has no room for {name.size:,} bytes more; some is kept for tasks"
            raise StoreUnavailable(message, retry_after=FULL_SECONDS)

    async def _complete_already(self, name: UploadName) -> Upload:
        """For a last piece that comes once more. Raises `BlobNotFound` if nothing is there or was announced."""
        if any(blob.workspace == name.workspace and blob.size == name.size for blob in await self._find(name.sha256)):
            return Upload(name, name.size, is_complete=True)
        raise BlobNotFound(f"no upload of {name.size:,} bytes with the digest {name.sha256} was announced")

    async def _move_on(self, under_way: _UnderWay, offset: int, data: bytes, by: str) -> Upload:
        name = under_way.name
        async with self._writings, under_way.lock:
            if under_way.is_over:
                return await self._complete_already(name)
            if offset != under_way.offset:
                raise BlobConflict(f"the upload goes on at offset {under_way.offset}, not at {offset}")
            if data:
                await self._store.append(name, offset, data)
                under_way.offset += len(data)
                under_way.touched_at = self._clock.now()
                self._tally.blob_bytes["written"] += len(data)
            if under_way.offset == name.size:
                await self._finish(under_way, by)
            return Upload(name, under_way.offset, is_complete=under_way.is_over)

    async def _finish(self, under_way: _UnderWay, by: str) -> None:
        """All of it is there: see that it is right, and let the workspace have it."""
        if await self._store.seal(under_way.name):
            await self._errands.do(partial(self._place, under_way, by))
            return
        self._end(under_way)
        log.warning("upload_refused", sha256=under_way.name.sha256, size=under_way.name.size)
        raise DigestMismatch

    async def _place(self, under_way: _UnderWay, by: str) -> None:
        name = under_way.name
        if await self._store.size_of(name.sha256) is None:
            await self._store.place(name)
        else:
            await self._store.drop(name)
        await self._keep(name, by)
        self._end(under_way)

    async def _keep(self, name: UploadName, by: str) -> None:
        now = self._clock.now()
        blob = Blob(sha256=name.sha256, size=name.size, workspace=name.workspace, created_at=now, used_at=now)
        told = {"workspace": name.workspace, "size": name.size}
        await self._store.keep(blob, Deed("blob_kept", by, f"blob:{name.sha256}", now, None, told))

    def _end(self, under_way: _UnderWay) -> None:
        under_way.is_over = True
        self._uploads.pop(under_way.name, None)

    async def _load(self) -> None:
        if not self._is_loaded:
            await self._errands.do(self._take_up)

    async def _take_up(self) -> None:
        """Take up what an earlier start has left."""
        if self._is_loaded:
            return
        for name, offset, touched_at in await self._store.unfinished():
            self._uploads[name] = _UnderWay(name, offset, touched_at)
        self._is_loaded = True

    async def _to_the_end(self, deed: Coroutine[Any, Any, Upload]) -> Upload:
        """Do something to its end, though the caller may leave: what is on the disk and what is known stay the same."""
        task = asyncio.create_task(deed, name="blob")
        self._deeds.add(task)
        task.add_done_callback(self._deeds.discard)
        task.add_done_callback(_look_at)
        return await asyncio.shield(task)

    # -- out ----------------------------------------------------------------------------------------------------------

    async def open(self, sha256: str, *, workspaces: Collection[str] | None = None) -> Reading:
        """Open a blob to be read (`workspaces`: if one of these has it), and note that it was used.

        Raises `BlobNotFound`, `InvalidTask`, `Overloaded`, `StoreUnavailable`.
        """
        check_digest(sha256)
        blobs = [blob for blob in await self._find(sha256) if workspaces is None or blob.workspace in workspaces]
        if not blobs:
            raise not_found(sha256)
        if self._readings.locked():
            raise _crowded()
        reader = await self._store.open(sha256)
        if reader is None:  # as a checkpoint leaves it that could not hold them
            raise BlobNotFound(f"the bytes of the blob {sha256} are not here: upload them")
        await self._readings.acquire()
        reading = Reading(reader, self._readings, self._tally)
        try:
            if min(blob.used_at for blob in blobs) < self._clock.now() - FRESH_MS:
                await self._store.touch(sha256, self._clock.now())
        except BaseException:
            reading.close()
            raise
        return reading

    async def get(self, sha256: str) -> Sequence[Blob]:
        """The blob as each workspace has it. Raises `BlobNotFound`, `InvalidTask`."""
        check_digest(sha256)
        blobs = await self._find(sha256)
        if not blobs:
            raise not_found(sha256)
        return blobs

    async def page(self, workspace: str | None, token: str, size: int) -> tuple[Sequence[Blob], str]:
        """Blobs in the order of (sha256, workspace), of a workspace or (None) of all, and the token of what follows.

        The token is empty for the first page, and behind the last one. Raises `InvalidTask` for one that is none, and
        `WorkspaceNotFound`.
        """
        if workspace:
            self._workspaces.get(workspace)
        blobs = await self._store.blobs(workspace, _place_of(token), size)
        return blobs, f"{blobs[-1].sha256}.{blobs[-1].workspace}" if len(blobs) == size else ""

    async def used(self, workspace: str) -> int:
        """How many bytes a workspace has, with those that are to come."""
        await self._load()
        return await self._store.used(workspace) + sum(one.size for one in self._uploads if one.workspace == workspace)

    async def _find(self, sha256: str) -> Sequence[Blob]:
        return await self._store.find(sha256)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def sweep(self) -> int:
        """Let go what stands for nothing and was not used for long, and uploads that do not go on. How many blobs."""
        await self._load()
        await self._errands.do(self._drop_idle)
        removed = 0
        while True:
            looked_at, gone = await self._errands.do(self._forget)
            removed += gone
            if looked_at < PORTION:
                break
        return removed + await self._errands.do(self._forget_strays)

    async def _drop_idle(self) -> None:
        before = self._clock.now() - UPLOAD_KEPT_MS
        for under_way in [one for one in self._uploads.values() if one.touched_at < before and not one.lock.locked()]:
            await self._abandon(under_way)

    async def _abandon(self, under_way: _UnderWay) -> None:
        self._end(under_way)
        await self._store.drop(under_way.name)

    async def _forget(self) -> tuple[int, int]:
        now = self._clock.now()
        swept = await self._store.forget(unused_since=now - self._kept_ms, now=now, limit=PORTION)
        await self._store.remove(swept.gone)
        return swept.looked_at, len(swept.gone)

    async def _forget_strays(self) -> int:
        """Remove bytes that nobody has, as a crash may leave them: of a part each time."""
        strays = await self._store.strays(self._next_part)
        self._next_part = (self._next_part + 1) % PARTS
        await self._store.remove(strays)
        return len(strays)


def check_digest(sha256: str, field: str = "sha256") -> None:
    """Raise `InvalidTask` for what is no SHA-256."""
    if not DIGEST.fullmatch(sha256):
        raise InvalidTask(FieldError(field, "must be a SHA-256: 64 digits from 0 to 9 and a to f, in small letters"))


def check_piece(name: UploadName, offset: int, data: bytes) -> None:
    """Raise `InvalidTask` or `TooLarge` for what can be no piece of an upload."""
    if not data:
        raise InvalidTask(FieldError("data", "must not be empty"))
    if len(data) > MAX_CHUNK_BYTES:
        raise TooLarge(FieldError("data", f"is {len(data):,} bytes; at most {MAX_CHUNK_BYTES:,} may come at a time"))
    if offset < 0 or offset + len(data) > name.size:
        raise InvalidTask(FieldError("offset", f"the {len(data):,} bytes reach beyond the {name.size:,} announced"))


def _place_of(token: str) -> tuple[str, str]:
    sha256, _, workspace = token.partition(".")
    if token and not DIGEST.fullmatch(sha256):
        raise InvalidTask(FieldError("page_token", "is not one that this server gave"))
    return sha256, workspace


def not_found(sha256: str) -> BlobNotFound:
    """Nobody has it."""
    return BlobNotFound(f"there is no blob with the digest {sha256}")


def _crowded() -> Overloaded:
    return Overloaded("too many blobs are on their way; try again later", retry_after=1.0)


def _look_at(task: asyncio.Task[Any]) -> None:
    """Somebody has looked at how it went, even if its caller is gone."""
    if not task.cancelled():
        task.exception()
