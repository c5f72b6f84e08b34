"""What a power cut leaves of files: nothing less than what was synced, nothing more than what was written."""

from __future__ import annotations

from random import Random

import pytest

from tests.power.durable_file import SECTOR_BYTES, Cut, Directory, Inode, Operation, Truncate, Write, sectors

MANY = 2_000


def file_with(*operations: Operation) -> Inode:
    """A file to which this was done, and nothing synced."""
    file = Inode()
    for operation in operations:
        file.do(operation)
    return file


def outcomes(file: Inode, *, torn_anywhere: bool = False) -> set[bytes]:
    """Everything that many power cuts leave of a file."""
    return {file.left_of(Cut(Random(seed), torn_anywhere=torn_anywhere)) for seed in range(MANY)}


def outcomes_once(file: Inode) -> set[bytes]:
    return {file.left_of(Cut(Random(0)))}


def names_left_of(directory: Directory) -> set[frozenset[tuple[str, bytes]]]:
    return {frozenset(directory.left_of(Cut(Random(seed))).items()) for seed in range(MANY)}


def test_what_was_synced_is_there_whatever_comes() -> None:
    file = file_with(Write(0, b"one"), Write(3, b"two"))
    file.sync()
    assert outcomes(file) == {b"onetwo"}
    assert file.now() == b"onetwo"


def test_any_part_of_what_was_not_synced_may_be_there() -> None:
    file = file_with(Write(0, b"one"), Write(3, b"two"), Truncate(4))
    assert outcomes(file) == {
        b"", b"one", b"\0\0\0two", b"onetwo", b"\0\0\0\0", b"one\0", b"\0\0\0t", b"onet",
    }  # fmt: skip
    assert file.now() == b"onet"


def test_a_sync_covers_what_was_done_when_it_began_and_no_more() -> None:
    file = file_with(Write(0, b"one"), Write(3, b"two"))
    file.sync(1)
    assert outcomes(file) == {b"one", b"onetwo"}


def test_what_a_failed_sync_has_lost_no_later_one_brings_back() -> None:
    left = set()
    for seed in range(MANY):
        file = file_with(Write(0, b"one"))
        file.fail_to_sync(Cut(Random(seed)))
        file.do(Write(3, b"two"))
        file.sync()
        assert file.now() == b"onetwo"
        left |= outcomes_once(file)
    assert left == {b"onetwo", b"\0\0\0two"}


def test_a_write_may_end_in_the_middle_of_a_sector_only_if_that_is_asked_for() -> None:
    file = file_with(Write(0, b"abc"))
    assert outcomes(file) == {b"", b"abc"}
    assert outcomes(file, torn_anywhere=True) == {b"", b"a", b"ab", b"abc"}


def test_a_write_over_several_sectors_may_be_there_in_some_of_them() -> None:
    first, second = b"a" * (SECTOR_BYTES - 10), b"b" * 20
    file = file_with(Write(10, first + second))
    assert {len(left) for left in outcomes(file)} == {0, SECTOR_BYTES, SECTOR_BYTES + 20}
    assert bytes(SECTOR_BYTES) + second in outcomes(file)


@pytest.mark.parametrize("offset", [0, 1, 511, 512, 700])
@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 1500])
def test_the_sectors_of_a_write_are_the_write(offset: int, length: int) -> None:
    data = Random(1).randbytes(length)
    parts = [part for part in sectors(Write(offset, data)) if isinstance(part, Write)]
    assert b"".join(part.data for part in parts) == data
    assert [part.offset for part in parts[1:]] == [(offset // 512 + n) * 512 for n in range(1, len(parts))]
    assert all(part.offset // 512 == max(part.offset, part.offset + len(part.data) - 1) // 512 for part in parts)


def test_a_new_name_may_be_lost_until_its_directory_is_synced() -> None:
    directory = Directory()
    directory.create("a").sync()
    assert names_left_of(directory) == {frozenset(), frozenset({("a", b"")})}
    directory.sync()
    assert names_left_of(directory) == {frozenset({("a", b"")})}


def test_a_rename_is_there_wholly_or_not_at_all() -> None:
    directory = Directory()
    for name in ("old", "new"):
        file = directory.create(name)
        file.do(Write(0, name.encode()))
        file.sync()
    directory.sync()
    directory.rename("new", "old")
    assert names_left_of(directory) == {
        frozenset({("old", b"old"), ("new", b"new")}),
        frozenset({("old", b"new")}),
    }


def test_a_name_that_was_removed_may_be_back_until_its_directory_is_synced() -> None:
    directory = Directory()
    directory.create("a")
    directory.sync()
    directory.remove("a")
    assert names_left_of(directory) == {frozenset(), frozenset({("a", b"")})}
    assert directory.now == {}
