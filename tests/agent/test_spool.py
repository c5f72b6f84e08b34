"""The spool: what was read and the gaps add up to what was printed, whatever the sizes and whatever the disk does."""

from __future__ import annotations

import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodelink_agent.spool import Extent, Gap, SpoolReader, SpoolWriter, kept_extent


def printed(length: int, start: int = 0) -> bytes:
    """Bytes of which each tells its offset, to a large prime's remainder."""
    return bytes((offset * 7 + offset // 251) % 251 for offset in range(start, start + length))


def append_all(writer: SpoolWriter, sizes: Sequence[int]) -> None:
    for size in sizes:
        writer.append(printed(size, writer.total))


def read_all(directory: Path, extent: Extent, limit: int = 1 << 20) -> list[bytes | Gap]:
    """The whole stream, in pieces of at most `limit` bytes."""
    reader, pieces, offset = SpoolReader(directory, "stdout"), list[bytes | Gap](), 0
    while offset < extent.total:
        piece = reader.read(offset, limit, extent)
        length = piece.length if isinstance(piece, Gap) else len(piece)
        assert 0 < length <= extent.total - offset
        assert isinstance(piece, Gap) or piece == printed(length, offset)
        pieces.append(piece)
        offset += length
    assert offset == extent.total
    return pieces


def kept(pieces: Sequence[bytes | Gap]) -> int:
    return sum(len(piece) for piece in pieces if isinstance(piece, bytes))


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A disk that takes no more than so many bytes of each file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


SIZES = st.lists(st.integers(0, 400), max_size=30)


@settings(deadline=None)  # a busy disk is no failure
@given(SIZES, st.integers(0, 300), st.integers(1, 300))
def test_the_files_tell_what_a_dead_writer_had_kept(sizes: list[int], head: int, tail: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = SpoolWriter(Path(folder), "stdout", head, tail)
        append_all(writer, sizes)
        found = kept_extent(Path(folder), "stdout")
        assert (found.total, found.head_end) == (writer.total, writer.extent.head_end)
        assert read_all(Path(folder), found) == read_all(Path(folder), writer.extent)
        writer.close()


def test_of_a_stream_that_has_no_file_nothing_was_kept(tmp_path: Path) -> None:
    assert kept_extent(tmp_path / "gone", "stdout") == Extent()


@settings(deadline=None)  # a busy disk is no failure
@given(SIZES, st.integers(0, 300), st.integers(1, 300), st.integers(1, 500))
def test_what_is_read_and_the_gaps_add_up(sizes: list[int], head: int, tail: int, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = SpoolWriter(Path(folder), "stdout", head, tail)
        append_all(writer, sizes)
        writer.close()

        pieces = read_all(Path(folder), writer.extent, limit)

        assert writer.total == sum(sizes)
        assert kept(pieces) >= min(writer.total, head + tail)


@settings(deadline=None)  # a busy disk is no failure
@given(SIZES, st.integers(0, 300), st.integers(1, 300), st.integers(0, 300), st.integers(0, 30))
def test_they_add_up_on_a_disk_that_fills_and_is_freed(
    sizes: list[int], head: int, tail: int, room: int, while_full: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = SpoolWriter(Path(folder), "stdout", head, tail)
        with files_no_larger_than(room):
            append_all(writer, sizes[:while_full])
        append_all(writer, sizes[while_full:])
        writer.close()

        read_all(Path(folder), writer.extent)

        assert writer.total == sum(sizes)


@settings(deadline=None)  # a busy disk is no failure
@given(SIZES, st.integers(1, 300), st.integers(1, 300))
def test_the_head_can_be_read_at_every_moment(sizes: list[int], head: int, tail: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = SpoolWriter(Path(folder), "stdout", head, tail)
        for size in sizes:
            writer.append(printed(size, writer.total))
            end = writer.extent.head_end
            assert end == min(head, writer.total)
            assert SpoolReader(Path(folder), "stdout").read(0, end, writer.extent) == printed(end)
        writer.close()


def test_nothing_is_written_before_the_first_byte(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "stdout")
    writer.append(b"")
    assert list(tmp_path.iterdir()) == []
    assert writer.extent == Extent(0, 0, 0)


def test_a_short_stream_is_all_head_and_has_no_gap(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "stdout", 100, 100)
    writer.append(printed(60))
    writer.close()
    assert writer.extent == Extent(60, 60, 60)
    assert writer.tail_start == 60


def test_a_stream_that_fits_into_head_and_tail_has_no_gap(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "stdout", 100, 100)
    append_all(writer, [60, 90])
    writer.close()
    assert writer.extent == Extent(150, 100, 100)
    assert writer.tail_start == 100


def test_the_disk_holds_no_more_than_head_tail_and_one_segment(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "stdout", 1_000, 800)
    for _ in range(500):
        writer.append(printed(97, writer.total))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000 + 800 + 100
    writer.close()


def test_a_directory_is_made_for_the_first_byte_and_its_owners_alone(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "1", "stdout", 10, 10)
    assert not (tmp_path / "1").exists()
    append_all(writer, [5])
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o700
    assert read_all(tmp_path / "1", writer.extent) == [printed(5)]


def test_a_directory_that_cannot_be_made_makes_everything_a_gap(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = SpoolWriter(tmp_path / "file", "stdout", 10, 10)
    append_all(writer, [5, 50, 500])
    assert read_all(tmp_path / "file", writer.extent) == [Gap(555)]


def test_files_that_vanish_later_are_gaps(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "stdout", 100, 100)
    append_all(writer, [300])
    writer.close()
    (tmp_path / "stdout.head").unlink()

    pieces = read_all(tmp_path, writer.extent)

    assert pieces[0] == Gap(100)
    assert kept(pieces) >= 100


def test_a_tail_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tail"):
        SpoolWriter(tmp_path, "stdout", 10, 0)


@pytest.mark.tmpfs
def test_on_a_full_disk_the_last_bytes_win(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], check=True)
    try:
        writer = SpoolWriter(tmp_path, "stdout", 16_384, 131_072)
        append_all(writer, [4_096] * 100)
        writer.close()

        pieces = read_all(tmp_path, writer.extent)

        assert writer.total == 409_600
        assert isinstance(pieces[-1], bytes)
        assert 16_384 < kept(pieces) <= 65_536
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
