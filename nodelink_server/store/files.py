"""The files of an SQLite database: where they are, who may read them, and that one server has them at a time.

Beside `NAME.db` there are `logs.db` (output), the directory `blobs`, and, for each of the two files, a lock file. No
file of a database may be opened and closed while a connection to it is open: that would drop the locks that SQLite
holds on it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nodelink.errors import StoreError, StoreUnavailable
from nodelink_server.store.errors import DatabaseDamaged, DatabaseHeld, DatabaseNotBuilt, DatabaseUnwritable

SQLITE_HEADER = b"SQLite format 3\x00"
LOGS_NAME = "logs.db"
HOLDER_BYTES = 32
"""The first bytes of a lock file name the process that holds it."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
BLOBS_NAME = "blobs"


@dataclass(frozen=True, slots=True)
class Files:
    """Where a database is."""

    tasks: Path
    logs: Path

    @property
    def blobs(self) -> Path:
        """The directory of blobs, beside them."""
        return self.tasks.with_name(BLOBS_NAME)


def files_of(database_url: str) -> Files:
    """The files that a URL names. Raises `DatabaseNotBuilt` for anything but `sqlite:///path`."""
    scheme = urlsplit(database_url).scheme.partition("+")[0]
    if scheme in {"postgres", "postgresql"}:
        raise DatabaseNotBuilt("PostgreSQL is not available in this version; use sqlite:///path")
    name = database_url.removeprefix("sqlite:///")
    if scheme != "sqlite" or name in {database_url, "", ":memory:"}:
        raise DatabaseNotBuilt(f"cannot use the database {_without_password(database_url)!r}; use sqlite:///path")
    path = Path(name).absolute()
    if path.name == LOGS_NAME:
        raise DatabaseNotBuilt(f"{LOGS_NAME} is the name of the file for output; choose another one for the database")
    return Files(path, path.with_name(LOGS_NAME))


def _without_password(database_url: str) -> str:
    """A URL that may be shown."""
    before, at, after = database_url.rpartition("@")
    return f"{before.partition('://')[0]}://…@{after}" if at else database_url


@contextmanager
def held(files: Files) -> Iterator[None]:
    """Make the files ready, and have them to ourselves. Raises what `nodelink_server.store.errors` has for it."""
    with ExitStack() as stack:
        try:
            files.tasks.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (files.tasks, files.logs):
                stack.enter_context(_locked(path))
                _prepare(path)
        except OSError as error:
            raise unwritable(f"the database {files.tasks}", error) from error
        yield


def unwritable(what: str, error: OSError) -> StoreError:
    """Why a file cannot be written: for now, because the disk is full, or until somebody sees to it."""
    kind = StoreUnavailable if error.errno in FULL else DatabaseUnwritable
    return kind(f"{what} cannot be written: {error.strerror or error}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside a database file. It is never removed: two servers must see the same file."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, HOLDER_BYTES, 0).decode("ascii", "replace").strip() or "unknown"
            raise DatabaseHeld(f"the database {path} is used by another server (process {holder})") from error
        # Over what is there: a file cut to nothing may find no room to grow again.
        os.pwrite(descriptor, f"{os.getpid()}\n".ljust(HOLDER_BYTES).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _prepare(path: Path) -> None:
    """See that a file is there, ours alone to read, and looks like a database. SQLite copies its mode to the others."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        header = os.pread(descriptor, len(SQLITE_HEADER), 0)
    finally:
        os.close(descriptor)
    # Of a database that a power cut met as it was made, the beginning may be missing: its journal heals that.
    if header.strip(b"\0") and header != SQLITE_HEADER:
        raise DatabaseDamaged(f"{path} is not a database")
