"""What strace has written is read as it happened, and what nobody knows how to follow is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power.durable_file import Truncate, Write
from tests.power.trace import Changed, Created, Event, Marked, Removed, SyncBegun, SyncEnded, Trace


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def read(tmp_path: Path, *lines: str) -> list[Event]:
    """What is read of lines in which <name> is a file of the directory, and "text" a text."""
    trace = tmp_path / "trace"
    trace.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return list(Trace(trace, Path("/data"), Path("/marks")).events())


FILE = f"3<{hexed('/data/a')}>"
DIRECTORY = f"4<{hexed('/data')}>"
OTHER = f"5<{hexed('/elsewhere/a')}>"
MARKS = f"6<{hexed('/marks')}>"


def test_a_file_is_made_written_synced_and_removed(tmp_path: Path) -> None:
    assert read(
        tmp_path,
        f'7 openat(AT_FDCWD<{hexed("/")}>, "{hexed("/data/a")}", O_RDWR|O_CREAT, 0600) = {FILE}',
        f'7 openat(AT_FDCWD<{hexed("/")}>, "{hexed("/data/a")}", O_RDWR|O_CREAT, 0600) = {FILE}',
        f'7 pwrite64({FILE}, "{hexed("ab")}", 2, 10) = 2',
        f"7 ftruncate({FILE}, 11) = 0",
        f"7 fdatasync({FILE}) = 0",
        f"7 fsync({DIRECTORY}) = 0",
        f'7 write({MARKS}, "{hexed("done")}", 4) = 4',
        f'7 unlink("{hexed("/data/a")}") = 0',
    ) == [
        Created("a"),
        Changed("a", Write(10, b"ab")),
        Changed("a", Truncate(11)),
        SyncBegun("a", 7),
        SyncEnded("a", 7),
        SyncBegun(".", 7),
        SyncEnded(".", 7),
        Marked("done"),
        Removed("a"),
    ]


def test_calls_of_two_threads_are_told_apart(tmp_path: Path) -> None:
    assert read(
        tmp_path,
        f"7 fdatasync({FILE} <unfinished ...>",
        f'8 pwrite64({FILE}, "{hexed("b")}", 1, 0 <unfinished ...>',
        "8 <... pwrite64 resumed>) = 1",
        "7 <... fdatasync resumed>) = 0",
    ) == [SyncBegun("a", 7), Changed("a", Write(0, b"b")), SyncEnded("a", 7)]


def test_what_failed_or_is_elsewhere_did_not_happen(tmp_path: Path) -> None:
    assert (
        read(
            tmp_path,
            f'7 pwrite64({FILE}, "{hexed("b")}", 1, 0) = -1 ENOSPC (No space left on device)',
            f'7 pwrite64({OTHER}, "{hexed("b")}", 1, 0) = 1',
            f'7 pwrite64(3<{hexed("/data/a")}>(deleted), "{hexed("b")}", 1, 0) = 1',
            f'7 rename("{hexed("/elsewhere/a")}", "{hexed("/elsewhere/b")}") = 0',
            "7 +++ exited with 0 +++",
        )
        == []
    )


@pytest.mark.parametrize(
    "line",
    [
        f'7 pwrite64({FILE}, "{hexed("ab")}", 2, 0) = 1',
        f'7 pwritev({FILE}, [{{iov_base="{hexed("ab")}", iov_len=2}}], 1, 0) = 2',
        f"7 fallocate({FILE}, 0, 0, 4096) = 0",
        f'7 rename("{hexed("/data/a")}", "{hexed("/data/b")}") = 0',
        f'7 openat(AT_FDCWD<{hexed("/")}>, "{hexed("/data/a")}", O_RDWR|O_CREAT|O_TRUNC, 0600) = {FILE}',
    ],
)
def test_what_nobody_knows_how_to_follow_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match="a"):
        read(tmp_path, line)
