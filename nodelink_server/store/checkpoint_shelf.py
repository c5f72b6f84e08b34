"""The checkpoints of a database: files in a directory of their own, the newest of which are kept."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from nodelink.checkpoint import CheckpointHeader, CheckpointRefused
from nodelink.checkpoint_file import BodyWriter, lines, read_header, verified
from nodelink.errors import CheckpointNotFound, StoreUnavailable
from nodelink_server.core.checkpoints import Loading
from nodelink_server.store.blob_files import BlobFiles
from nodelink_server.store.checkpoint_blobs import BOUNDS, Bounds
from nodelink_server.store.checkpoint_loading import has_begun, is_loaded, load, place_blobs
from nodelink_server.store.checkpoint_taking import fingerprint, look, write
from nodelink_server.store.connections import reading_engine, translated
from nodelink_server.store.files import files_of
from nodelink_server.store.numbering import Counters
from nodelink_server.store.sql import SqlStore

SUFFIX = ".checkpoint"
MOST_LOGGED = 10
_UNFINISHED = ".part"
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")

log = structlog.get_logger(__name__)
T = TypeVar("T")


@asynccontextmanager
async def open_shelf(
    store: SqlStore, database_url: str, directory: Path, *, bounds: Bounds = BOUNDS
) -> AsyncIterator[Shelf]:
    """The checkpoints of an open store, until the end. The directory is made when the first is written."""
    files = files_of(database_url)
    shelf = Shelf(store, files.tasks, BlobFiles(files.blobs, reserve_bytes=0), directory, bounds=bounds)
    try:
        yield shelf
    finally:
        await shelf.close()


class Shelf:
    """Takes checkpoints of a store, keeps them, and loads one into it. Call `close` at the end.

    `blobs`: the files of the store's own, none of the disk kept free: what goes on is what that is kept free for.
    """

    def __init__(self, store: SqlStore, tasks: Path, blobs: BlobFiles, directory: Path, *, bounds: Bounds) -> None:
        self._store = store
        self._blobs = blobs
        self._bounds = bounds
        self._directory = directory
        self._engine = reading_engine(tasks)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")

    async def close(self) -> None:
        """Let what is being written be written, and let go of the database."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._engine.dispose()

    async def take(self, header: CheckpointHeader, *, keep: int, unless: str = "") -> CheckpointHeader | None:
        """Write a checkpoint, of which `header` says who asks, and keep so many. None: nothing has changed since the
        one with the fingerprint `unless`. Raises `StoreUnavailable`.
        """
        return await self._do(partial(self._take, header, keep, unless))

    async def all(self) -> Sequence[CheckpointHeader]:
        """Those that are kept, the newest first. What cannot be read is left out."""
        return await self._do(self._all)

    async def verify(self, checkpoint_id: str) -> CheckpointHeader:
        """A checkpoint that is whole. Raises `CheckpointNotFound`, `CheckpointRefused`."""
        return await self._do(partial(self._verify, checkpoint_id))

    async def content(self, checkpoint_id: str, offset: int = 0, most: int | None = None) -> bytes:
        """A file as it is, or a part of it. Raises `CheckpointNotFound`."""
        return await self._do(partial(_part, self._path(checkpoint_id), offset, most), checkpoint_id)

    async def keep(self, content: bytes) -> CheckpointHeader:
        """Put a checkpoint of another server on the shelf. Raises `CheckpointRefused`, `StoreUnavailable`."""
        return await self._do(partial(self._keep, content))

    async def load(self, checkpoint_id: str, *, now: int, as_waiting: bool) -> Loading:
        """Load a checkpoint into the database, and return what to go on from, if it was not loaded before.

        Raises `CheckpointNotFound`, `CheckpointRefused`, `ServerNotEmpty`, `StoreUnavailable`.
        """
        header, is_new = await self._load(self._path(checkpoint_id), now, as_waiting)
        return Loading(header, await self._store.look_again() if is_new else None)

    async def load_file(self, path: Path, *, now: int, as_waiting: bool) -> bool:
        """Load any file. False: it was loaded before, and nothing is done. Raises as `load`."""
        _, is_new = await self._load(path, now, as_waiting)
        return is_new

    async def _load(self, path: Path, now: int, as_waiting: bool) -> tuple[CheckpointHeader, bool]:
        header = await self._do(partial(self._verified, path), path.name.removesuffix(SUFFIX))
        if header.blobs:
            await self._do(partial(self._place_blobs, path, header.id))  # before the rows: those stand for bytes

        def do(connection: Connection, counters: Counters) -> Counters:
            with path.open("rb") as file:
                return load(connection, counters, header, lines(file), now=now, as_waiting=as_waiting)

        is_new = await self._store.begin_with(do, lambda connection: is_loaded(connection, header.id))
        log.info("checkpoint_loaded" if is_new else "checkpoint_loaded_before", id=header.id, tasks=header.tasks)
        if is_new and header.blobs_left_out:
            named = [one.sha256 for one in header.left_out[:MOST_LOGGED]]
            log.warning("checkpoint_lacks_blobs", id=header.id, blobs=header.blobs_left_out, sha256=named)
        return header, is_new

    # -- in the thread ------------------------------------------------------------------------------------------------

    async def _do(self, deed: Callable[[], T], name: str = "") -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, deed)
        except FileNotFoundError as error:
            raise CheckpointNotFound(f"there is no checkpoint {name[:64]}") from error
        except OSError as error:
            message = f"checkpoints in {self._directory} cannot be written or read: {error.strerror or error}"
            raise StoreUnavailable(message) from error
        except DBAPIError as error:
            known = translated(error)
            if known is None:
                raise
            raise known from error

    def _take(self, header: CheckpointHeader, keep: int, unless: str) -> CheckpointHeader | None:
        with self._engine.connect() as connection:
            if unless and fingerprint(connection) == unless:
                return None
            seen = look(connection, header, self._blobs, self._bounds)
            with self._written(header.id) as file:
                body = BodyWriter(file)
                write(connection, seen, self._blobs, body)
                whole = body.finish(seen.header)
        self._prune(keep)
        return whole

    @contextmanager
    def _written(self, checkpoint_id: str) -> Iterator[BinaryIO]:
        """A file that is there as a whole, or not at all."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._directory / f"{checkpoint_id}{_UNFINISHED}"
        try:
            part.touch(0o600, exist_ok=False)
            with part.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._path(checkpoint_id))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _prune(self, keep: int) -> None:
        """Let go of the oldest, and of what a killed server has begun."""
        for header in self._all()[keep:]:
            self._path(header.id).unlink(missing_ok=True)
        for part in self._directory.glob(f"*{_UNFINISHED}"):
            part.unlink(missing_ok=True)

    def _all(self) -> Sequence[CheckpointHeader]:
        found = []
        for path in self._directory.glob(f"*{SUFFIX}"):
            try:
                with path.open("rb") as file:
                    header = read_header(file)
            except (CheckpointRefused, FileNotFoundError) as error:
                log.warning("checkpoint_not_read", file=path.name, error=str(error))
                continue
            if path.name == f"{header.id}{SUFFIX}":
                found.append(header)
        return sorted(found, key=lambda header: (header.taken_at, header.id), reverse=True)

    def _place_blobs(self, path: Path, checkpoint_id: str) -> None:
        with self._engine.connect() as connection:
            if has_begun(connection, checkpoint_id):
                return
        with path.open("rb") as file:
            place_blobs(lines(file), self._blobs)

    def _verify(self, checkpoint_id: str) -> CheckpointHeader:
        return self._verified(self._path(checkpoint_id))

    def _verified(self, path: Path) -> CheckpointHeader:
        with path.open("rb") as file:
            return verified(file)

    def _keep(self, content: bytes) -> CheckpointHeader:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        arrived = self._directory / f"arrived{_UNFINISHED}"
        try:
            arrived.write_bytes(content)
            arrived.chmod(0o600)
            header = self._verified(arrived)
            arrived.rename(self._path(header.id))
        finally:
            arrived.unlink(missing_ok=True)
        return header

    def _path(self, checkpoint_id: str) -> Path:
        """Where a checkpoint is. Raises `CheckpointNotFound` for a name that can be none of ours."""
        if not _ID.fullmatch(checkpoint_id):
            raise CheckpointNotFound(f"there is no checkpoint {checkpoint_id[:64]!r}")
        return self._directory / f"{checkpoint_id}{SUFFIX}"


def _part(path: Path, offset: int, most: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read() if most is None else file.read(most)
