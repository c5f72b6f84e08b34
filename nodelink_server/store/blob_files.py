"""The files of blobs: `blobs/ab/abcd…`, each named by the SHA-256 of its bytes, and `blobs/uploads/` for what has not
all come. A file gets its name when the disk has all of it, and never changes from then on.

Every name is made of what was checked before, so that no caller names a path. Everything here blocks: call it in a
thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from nodelink.errors import StoreUnavailable
from nodelink.failpoints import hit
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES, Unfinished, UploadName

RESERVE_BYTES = 1 << 30
"""What blobs leave free on the disk: for tasks, their output, and everything else."""
FULL_SECONDS = 60.0
"""When it may help to try again with a disk that is full."""
SYNC_BYTES = 64 << 20
"""So often an upload is synced under way: the end has little left to wait for."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

log = structlog.get_logger(__name__)


class BlobFiles:
    """The bytes of blobs, in one directory. One upload is touched by one thread at a time."""

    def __init__(self, directory: Path, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._directory = directory
        self._uploads = directory / "uploads"
        self._reserve = reserve_bytes
        self._hashes: dict[UploadName, tuple[Any, int]] = {}

    def prepare(self) -> None:
        """Make the directories, ours alone to read."""
        with _translated():
            for directory in (self._directory, self._uploads):
                directory.mkdir(mode=0o700, exist_ok=True)

    # -- uploads ------------------------------------------------------------------------------------------------------

    def unfinished(self) -> Sequence[Unfinished]:
        """The uploads that there are."""
        with _translated():
            found = [(_upload_of(entry.name), entry.stat()) for entry in os.scandir(self._uploads)]
        return [
            Unfinished(name, status.st_size, int(status.st_mtime * 1000))
            for name, status in found
            if name is not None and status.st_size <= name.size
        ]

    def room(self) -> int:
        """How many bytes there is room for, apart from what is kept free."""
        with _translated():
            status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize - self._reserve

    def append(self, upload: UploadName, offset: int, data: bytes) -> None:
        """Put bytes behind those that are there. If that fails, those are as they were."""
        if self.room() < len(data):
            raise _full()
        hit("server.piece.before_write")
        with _translated(), _opened(self._path(upload), os.O_RDWR | os.O_CREAT) as descriptor:
            os.ftruncate(descriptor, offset)  # what a failed attempt may have left behind it
            try:
                _write(descriptor, offset, data)
            except OSError:
                os.ftruncate(descriptor, offset)
                self._hashes.pop(upload, None)
                raise
            if (offset + len(data)) // SYNC_BYTES > offset // SYNC_BYTES:
                os.fdatasync(descriptor)
        self._count(upload, offset, data)
        hit("server.piece.after_write")

    def seal(self, upload: UploadName) -> bool:
        """See that an upload is what was announced, and sync it. False: it is not, and it is gone."""
        with _translated(), _opened(self._path(upload), os.O_RDWR | os.O_CREAT) as descriptor:
            is_right = os.fstat(descriptor).st_size == upload.size and self._digest(upload, descriptor) == upload.sha256
            if is_right:
                os.fsync(descriptor)
        if not is_right:
            self.drop(upload)
            return False
        hit("server.upload.sealed")
        return True

    def place(self, upload: UploadName) -> None:
        """Give a sealed upload its name, durably."""
        path = self._blob(upload.sha256)
        with _translated():
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_directory(self._directory)
            self._path(upload).replace(path)
            hit("server.upload.renamed")
            _sync_directory(path.parent)
        hit("server.upload.placed")
        self._hashes.pop(upload, None)

    def drop(self, upload: UploadName) -> None:
        """Forget an upload."""
        self._hashes.pop(upload, None)
        with _translated():
            self._path(upload).unlink(missing_ok=True)

    # -- blobs --------------------------------------------------------------------------------------------------------

    def size_of(self, sha256: str) -> int | None:
        """How many bytes a blob has; None: there are none."""
        with _translated():
            try:
                return self._blob(sha256).stat().st_size
            except FileNotFoundError:
                return None

    def sizes_of(self, digests: Collection[str]) -> Mapping[str, int | None]:
        """How many bytes each of some blobs has; None: there are none."""
        return {sha256: self.size_of(sha256) for sha256 in digests}

    def open(self, sha256: str) -> tuple[int, int] | None:
        """A descriptor for reading a blob, and its size; None: it is not there."""
        with _translated():
            try:
                descriptor = os.open(self._blob(sha256), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            return descriptor, os.fstat(descriptor).st_size

    def remove(self, digests: Collection[str]) -> None:
        """Remove the bytes of blobs."""
        with _translated():
            for sha256 in digests:
                self._blob(sha256).unlink(missing_ok=True)

    def part(self, number: int) -> Sequence[str]:
        """The digests of a 256th part of all blobs."""
        with _translated(), suppress(FileNotFoundError):
            return [path.name for path in (self._directory / f"{number:02x}").iterdir()]
        return []

    def _path(self, upload: UploadName) -> Path:
        return self._uploads / f"{upload.sha256}.{upload.size}.{upload.workspace}"

    def _blob(self, sha256: str) -> Path:
        return self._directory / sha256[:2] / sha256

    # -- digests ------------------------------------------------------------------------------------------------------

    def _count(self, upload: UploadName, offset: int, data: bytes) -> None:
        """Take bytes into the digest of what is there, if it is known up to them."""
        digest, counted = self._hashes.get(upload, (None, 0))
        if digest is None and offset == 0:
            digest = hashlib.sha256()
        if digest is None or counted != offset:
            self._hashes.pop(upload, None)
            return
        digest.update(data)
        self._hashes[upload] = (digest, offset + len(data))

    def _digest(self, upload: UploadName, descriptor: int) -> str:
        """The digest of a whole upload: as it was counted, or else by reading it."""
        digest, _ = self._hashes.get(upload, (None, 0))
        if digest is None:
            digest = hashlib.sha256()
            for start in range(0, upload.size, MAX_CHUNK_BYTES):
                digest.update(os.pread(descriptor, MAX_CHUNK_BYTES, start))
        return str(digest.hexdigest())


def read(descriptor: int, offset: int, length: int) -> bytes:
    """Bytes of an open blob."""
    with _translated():
        return os.pread(descriptor, min(length, MAX_CHUNK_BYTES), offset)


def _write(descriptor: int, offset: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, offset)
        offset += written
        left = left[written:]


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def _upload_of(file_name: str) -> UploadName | None:
    sha256, _, rest = file_name.partition(".")
    size, _, workspace = rest.partition(".")
    return UploadName(sha256, int(size), workspace) if len(sha256) == 64 and size.isdecimal() else None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _full() from error
        log.warning("blob_disk_failed", error=str(error))
        raise StoreUnavailable(f"the disk of blobs cannot be used now: {error.strerror or error}") from error


def _full() -> StoreUnavailable:
    return StoreUnavailable("the disk has no room for this; some is kept for tasks", retry_after=FULL_SECONDS)
