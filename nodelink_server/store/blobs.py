"""Blobs on a disk and in SQLite: bytes in files, in a few threads of their own, and in the database whose they are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from nodelink_server.core.blob_ports import (
    Artifact,
    AttemptArtifact,
    Blob,
    Swept,
    Unfinished,
    UploadName,
    WorkspaceState,
)
from nodelink_server.core.deeds import Deed
from nodelink_server.store import blob_files, blob_rows
from nodelink_server.store.blob_files import BlobFiles
from nodelink_server.store.chain import Chain
from nodelink_server.store.readers import Readers
from nodelink_server.store.writer import Work, Writer

THREADS = 4

_T = TypeVar("_T")


class DiskBlobs:
    """A `BlobStore` over a directory and the database of tasks."""

    def __init__(self, files: BlobFiles, writer: Writer, chain: Chain, readers: Readers) -> None:
        self._files = files
        self._writer = writer
        self._chain = chain
        self._readers = readers
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    async def prepare(self) -> None:
        """Make the directories."""
        await self._run(self._files.prepare)

    async def close(self) -> None:
        """Finish what is under way."""
        await asyncio.to_thread(self._threads.shutdown)

    # -- bytes --------------------------------------------------------------------------------------------------------

    async def unfinished(self) -> Sequence[Unfinished]:
        """The uploads that an earlier start has left."""
        return await self._run(self._files.unfinished)

    async def room(self) -> int:
        """How many bytes there is room for."""
        return await self._run(self._files.room)

    async def append(self, upload: UploadName, offset: int, data: bytes) -> None:
        """Put the next bytes of an upload behind those that are there."""
        await self._run(self._files.append, upload, offset, data)

    async def seal(self, upload: UploadName) -> bool:
        """See that an upload is what was announced, and that the disk has it."""
        return await self._run(self._files.seal, upload)

    async def place(self, upload: UploadName) -> None:
        """Let the bytes of a sealed upload be found by their digest."""
        await self._run(self._files.place, upload)

    async def drop(self, upload: UploadName) -> None:
        """Forget an upload."""
        await self._run(self._files.drop, upload)

    async def size_of(self, sha256: str) -> int | None:
        """How many bytes a blob has."""
        return await self._run(self._files.size_of, sha256)

    async def open(self, sha256: str) -> OpenFile | None:
        """Open a blob."""
        opened = await self._run(self._files.open, sha256)
        return None if opened is None else OpenFile(self._threads, *opened)

    async def remove(self, digests: Collection[str]) -> None:
        """Remove bytes."""
        if digests:
            await self._run(self._files.remove, digests)

    async def strays(self, number: int) -> Sequence[str]:
        """Of a 256th part of all bytes, those that no workspace has."""
        there = await self._run(self._files.part, number)
        return await self._readers.read(lambda connection: blob_rows.nobodys(connection, there)) if there else []

    async def _run(self, deed: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(deed, *arguments))

    # -- what they stand for ------------------------------------------------------------------------------------------

    async def keep(self, blob: Blob, deed: Deed | None = None) -> None:
        """Let a workspace have a blob."""
        do = partial(blob_rows.keep, blob=blob)
        await self._chain.write(
            do, lambda connection, _: blob_rows.is_kept(connection, blob), deed=deed, is_done=bool, place="blob"
        )

    async def find(self, sha256: str) -> Sequence[Blob]:
        """The blob as each workspace has it."""
        return await self._readers.read(lambda connection: blob_rows.find(connection, sha256))

    async def touch(self, sha256: str, now: int) -> None:
        """Note that a blob was used."""
        await self._writer.write(Work(partial(blob_rows.touch, sha256=sha256, now=now), _in_doubt_not))

    async def used(self, workspace: str) -> int:
        """How many bytes a workspace has."""
        return await self._readers.read(lambda connection: blob_rows.used(connection, workspace))

    async def blobs(self, workspace: str | None, after: tuple[str, str], limit: int) -> Sequence[Blob]:
        """Blobs in order, behind a place."""
        return await self._readers.read(lambda connection: blob_rows.listed(connection, workspace, after, limit))

    async def artifacts(self, task_id: str) -> Sequence[Artifact] | None:
        """The artifacts of a task."""
        return await self._readers.read(lambda connection: blob_rows.of_task(connection, task_id))

    async def there(self, told: Collection[AttemptArtifact]) -> Collection[AttemptArtifact]:
        """Those of them that are artifacts of their attempts, with all of their bytes."""
        kept = await self._readers.read(lambda connection: blob_rows.attached(connection, told))
        sizes = await self._run(self._files.sizes_of, {one.sha256 for one in kept})
        return {one for one, size in kept.items() if sizes[one.sha256] == size}

    async def states(self, workspace: str) -> Sequence[WorkspaceState]:
        """The states of a workspace, the newest first."""
        return await self._readers.read(lambda connection: blob_rows.states(connection, workspace))

    async def forget(self, *, unused_since: int, now: int, limit: int) -> Swept:
        """Let blobs go that stand for nothing."""
        do = partial(blob_rows.forget, unused_since=unused_since, now=now, limit=limit)
        return await self._writer.write(Work(do, _in_doubt_not, pages=limit))


class OpenFile:
    """A `BlobReader` of a file. One read at a time."""

    def __init__(self, threads: ThreadPoolExecutor, descriptor: int, size: int) -> None:
        self._threads = threads
        self._descriptor = descriptor
        self._reading: Future[bytes] | None = None
        self.size = size

    async def read(self, offset: int, length: int) -> bytes:
        """So many bytes from an offset on."""
        self._reading = self._threads.submit(blob_files.read, self._descriptor, offset, length)
        return await asyncio.wrap_future(self._reading)

    def close(self) -> None:
        """Let go of it, as soon as nobody reads: the number of a closed file stands for another one at once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if self._reading is None or self._reading.done():
            os.close(descriptor)
        else:
            self._reading.add_done_callback(lambda _: os.close(descriptor))


def _in_doubt_not(_connection: Connection, _result: object) -> bool:
    """For what may be done again: if in doubt, it was not done."""
    return False
