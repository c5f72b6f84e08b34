"""Blobs in memory, with the same meaning as on a disk: for tests and for simulation."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from nodelink.errors import StoreUnavailable
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
from nodelink_server.store.disk import Disk


class MemoryBlobs:
    """A `BlobStore` over the shelf of a `Disk`. `pause` is awaited before a deed, and `fault` may raise what a disk
    would raise (kinds: blob append, seal, place, keep, forget; read).
    """

    def __init__(self, disk: Disk, *, pause: Callable[[str], Awaitable[None]], fault: Callable[[str], None]) -> None:
        self._disk = disk
        self._shelf = disk.blobs
        self._pause = pause
        self._fault = fault

    # -- bytes --------------------------------------------------------------------------------------------------------

    async def unfinished(self) -> Sequence[Unfinished]:
        """The uploads that an earlier start has left."""
        return [Unfinished(name, len(data), self._disk.committed_at) for name, data in self._shelf.uploads.items()]

    async def room(self) -> int:
        """How many bytes there is room for."""
        return self._shelf.room

    async def append(self, upload: UploadName, offset: int, data: bytes) -> None:
        """Put the next bytes of an upload behind those that are there."""
        await self._begin("blob append")
        if self._shelf.room < len(data):
            raise StoreUnavailable("the disk has no room for this", retry_after=60.0)
        there = self._shelf.uploads.setdefault(upload, bytearray())
        del there[offset:]
        there += data
        self._shelf.room -= len(data)

    async def seal(self, upload: UploadName) -> bool:
        """See that an upload is what was announced."""
        await self._begin("blob seal")
        data = self._shelf.uploads.setdefault(upload, bytearray())
        is_right = len(data) == upload.size and hashlib.sha256(data).hexdigest() == upload.sha256
        if not is_right:
            await self.drop(upload)
        return is_right

    async def place(self, upload: UploadName) -> None:
        """Let the bytes of a sealed upload be found by their digest."""
        await self._begin("blob place")
        self._shelf.bytes[upload.sha256] = bytes(self._shelf.uploads.pop(upload))

    async def drop(self, upload: UploadName) -> None:
        """Forget an upload."""
        self._shelf.room += len(self._shelf.uploads.pop(upload, b""))

    async def size_of(self, sha256: str) -> int | None:
        """How many bytes a blob has."""
        return len(self._shelf.bytes[sha256]) if sha256 in self._shelf.bytes else None

    async def open(self, sha256: str) -> OpenBytes | None:
        """Open a blob."""
        return OpenBytes(self._shelf.bytes[sha256]) if sha256 in self._shelf.bytes else None

    async def remove(self, digests: Collection[str]) -> None:
        """Remove bytes."""
        for sha256 in digests:
            self._shelf.room += len(self._shelf.bytes.pop(sha256, b""))

    async def strays(self, number: int) -> Sequence[str]:
        """Of a 256th part of all bytes, those that no workspace has."""
        had = {sha256 for sha256, _ in self._shelf.rows}
        return [sha256 for sha256 in self._shelf.bytes if sha256[:2] == f"{number:02x}" and sha256 not in had]

    # -- what they stand for ------------------------------------------------------------------------------------------

    async def keep(self, blob: Blob, deed: Deed | None = None) -> None:
        """Let a workspace have a blob."""
        await self._begin("blob keep")
        name = (blob.sha256, blob.workspace)
        known = self._shelf.rows.get(name)
        self._disk.audit(deed if known is None else None)
        self._shelf.rows[name] = blob if known is None else replace(known, used_at=blob.used_at)

    async def find(self, sha256: str) -> Sequence[Blob]:
        """The blob as each workspace has it."""
        return [row for (of, _), row in self._shelf.rows.items() if of == sha256]

    async def touch(self, sha256: str, now: int) -> None:
        """Note that a blob was used."""
        for row in await self.find(sha256):
            self._shelf.rows[sha256, row.workspace] = replace(row, used_at=now)

    async def used(self, workspace: str) -> int:
        """How many bytes a workspace has."""
        return sum(row.size for row in self._shelf.rows.values() if row.workspace == workspace)

    async def blobs(self, workspace: str | None, after: tuple[str, str], limit: int) -> Sequence[Blob]:
        """Blobs in order, behind a place."""
        wanted = (name for name in sorted(self._shelf.rows) if name > after and workspace in {None, name[1]})
        behind = [name for name in wanted if workspace is None or name[0] > after[0]]
        return [self._shelf.rows[name] for name in behind[:limit]]

    async def artifacts(self, task_id: str) -> Sequence[Artifact] | None:
        """The artifacts of a task."""
        key = self._disk.keys.get(task_id)
        if key is None:
            return None
        return [self._shelf.artifacts[name][1] for name in sorted(self._shelf.artifacts) if name[0] == key]

    async def there(self, told: Collection[AttemptArtifact]) -> Collection[AttemptArtifact]:
        """Those of them that are artifacts of their attempts, with all of their bytes."""
        await self._begin("read")
        return {one for one in told if self._is_there(one)}

    async def states(self, workspace: str) -> Sequence[WorkspaceState]:
        """The states of a workspace, the newest first."""
        return self._shelf.states.get(workspace, [])[::-1]

    async def forget(self, *, unused_since: int, now: int, limit: int) -> Swept:
        """Let blobs go that stand for nothing."""
        await self._begin("blob forget")
        rows = self._shelf.rows
        old = sorted((row.used_at, name) for name, row in rows.items() if row.used_at < unused_since)[:limit]
        for _, name in old:
            if self._stands_for_something(*name):
                rows[name] = replace(rows[name], used_at=now)
            else:
                del rows[name]
        had = {sha256 for sha256, _ in rows}
        return Swept(len(old), sorted({name[0] for _, name in old} - had))

    async def _begin(self, kind: str) -> None:
        await self._pause(kind)
        self._fault(kind)

    def forget_artifacts(self, key: int) -> None:
        """A task is gone."""
        for name in [name for name in self._shelf.artifacts if name[0] == key]:
            del self._shelf.artifacts[name]
            self._shelf.told.pop(name, None)

    def forget_states(self, workspace: str) -> None:
        """A workspace is gone."""
        self._shelf.states.pop(workspace, None)

    def _is_there(self, one: AttemptArtifact) -> bool:
        name = (self._disk.keys.get(one.ref.task_id, 0), one.name, one.ref.attempt)
        _, kept = self._shelf.artifacts.get(name, ("", None))
        if kept is None or kept.sha256 != one.sha256:
            return False
        return len(self._shelf.bytes.get(one.sha256, b"")) == kept.size

    def _stands_for_something(self, sha256: str, workspace: str) -> bool:
        parts = any((of, one.sha256) == (workspace, sha256) for of, one in self._shelf.artifacts.values())
        return parts or any(one.sha256 == sha256 for one in self._shelf.states.get(workspace, ()))


class OpenBytes:
    """A `BlobReader` of what is in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def read(self, offset: int, length: int) -> bytes:
        """So many bytes from an offset on."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Let go of it."""
