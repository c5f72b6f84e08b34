"""The files of blobs: whose they are to read, what a disk does that is full or torn, and that nobody names a path."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodelink.errors import StoreUnavailable
from nodelink_server.core.blob_ports import UploadName
from nodelink_server.store.blob_files import FULL_SECONDS, SYNC_BYTES, BlobFiles, read

DATA = b"some bytes " * 1000
NAME = UploadName(hashlib.sha256(DATA).hexdigest(), len(DATA), "site")


@pytest.fixture
def files(tmp_path: Path) -> BlobFiles:
    files = BlobFiles(tmp_path / "blobs", reserve_bytes=0)
    files.prepare()
    return files


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Writes beyond end as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_files_and_directories_are_for_the_server_alone(files: BlobFiles, tmp_path: Path) -> None:
    files.append(NAME, 0, DATA)
    [upload] = (tmp_path / "blobs" / "uploads").iterdir()
    assert stat.S_IMODE(upload.stat().st_mode) == 0o600
    files.seal(NAME)
    files.place(NAME)

    placed = tmp_path / "blobs" / NAME.sha256[:2] / NAME.sha256
    assert placed.read_bytes() == DATA
    assert not upload.exists()
    assert stat.S_IMODE(placed.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (placed.parent, tmp_path / "blobs")} == {0o700}


def test_on_a_full_disk_what_was_there_stays_and_the_rest_may_come_later(files: BlobFiles, tmp_path: Path) -> None:
    files.append(NAME, 0, DATA[:4000])
    with no_file_longer_than(5000), pytest.raises(StoreUnavailable) as refusal:
        files.append(NAME, 4000, DATA[4000:])
    assert refusal.value.retry_after == FULL_SECONDS
    assert [left.offset for left in files.unfinished()] == [4000]

    files.append(NAME, 4000, DATA[4000:])
    assert files.seal(NAME)


def test_blobs_leave_free_what_is_reserved(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    files = BlobFiles(tmp_path / "blobs", reserve_bytes=2 * free)
    files.prepare()

    assert files.room() < 0
    with pytest.raises(StoreUnavailable) as refusal:
        files.append(NAME, 0, b"x")
    assert refusal.value.retry_after == FULL_SECONDS
    assert files.unfinished() == []


def test_a_disk_that_fails_otherwise_is_unavailable_too(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("not a directory")
    files = BlobFiles(tmp_path / "blobs")
    for deed in (files.prepare, files.unfinished, lambda: files.append(NAME, 0, DATA), lambda: files.open(NAME.sha256)):
        with pytest.raises(StoreUnavailable):
            deed()


def test_a_link_in_the_place_of_a_file_is_not_followed(files: BlobFiles, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    upload = tmp_path / "blobs" / "uploads" / f"{NAME.sha256}.{NAME.size}.{NAME.workspace}"
    upload.symlink_to(secret)
    with pytest.raises(StoreUnavailable):
        files.append(NAME, 0, b"overwritten")

    placed = tmp_path / "blobs" / NAME.sha256[:2] / NAME.sha256
    placed.parent.mkdir()
    placed.symlink_to(secret)
    with pytest.raises(StoreUnavailable):
        files.open(NAME.sha256)
    assert secret.read_bytes() == DATA


def test_what_was_torn_on_the_disk_is_found_when_all_is_there(files: BlobFiles, tmp_path: Path) -> None:
    """After a restart the digest is made of what the disk has, not of what once came."""
    files.append(NAME, 0, DATA[:4000])
    [upload] = (tmp_path / "blobs" / "uploads").iterdir()
    with upload.open("r+b") as torn:
        torn.write(b"\0" * 100)
    later = BlobFiles(tmp_path / "blobs", reserve_bytes=0)
    later.append(NAME, 4000, DATA[4000:])
    assert not later.seal(NAME)
    assert later.unfinished() == []


def test_a_large_upload_is_synced_under_way_and_counted_right(files: BlobFiles) -> None:
    piece = bytes(1 << 20)
    pieces = (SYNC_BYTES >> 20) + 1
    name = UploadName(hashlib.sha256(piece * pieces).hexdigest(), len(piece) * pieces)
    for number in range(pieces):
        files.append(name, number << 20, piece)
    assert files.seal(name)


def test_what_else_lies_among_the_uploads_is_left_alone(files: BlobFiles, tmp_path: Path) -> None:
    for name in ("README", "abc.5.", f"{NAME.sha256}.x.site"):
        (tmp_path / "blobs" / "uploads" / name).write_text("?")
    assert files.unfinished() == []


def test_reading_behind_the_end_gives_nothing(files: BlobFiles) -> None:
    files.append(NAME, 0, DATA)
    files.seal(NAME)
    files.place(NAME)
    opened = files.open(NAME.sha256)
    assert opened is not None
    descriptor, size = opened
    try:
        assert size == len(DATA)
        assert read(descriptor, len(DATA) - 2, 100) == DATA[-2:]
        assert read(descriptor, len(DATA), 100) == b""
    finally:
        os.close(descriptor)
