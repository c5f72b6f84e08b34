"""What a dead spawner's journal proves of a command, and what it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodelink.task import LogStream
from nodelink_agent.boottime import boot_id
from nodelink_agent.command import END_FIELDS, CommandEnd
from nodelink_agent.found import Exited, Keeper, NeverBegan, Remains, Vanished
from nodelink_agent.processes import started
from nodelink_agent.spawner_journal import SpawnerJournal
from nodelink_agent.spool import Extent, SpoolWriter

MOMENTS = range(5, 7)
KEEPER = Keeper(1, 2)
END = CommandEnd(
    exit_code=3, signal=None, cpu_seconds=1.5, max_rss_bytes=7, signalled_alive=True, tree_gone=True, leftovers=0
)
WORDS = {field: getattr(END, field) for field in END_FIELDS if field != "durable"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "spawners" / "here"
    home.mkdir(parents=True)
    return home


def begin(home: Path, boot: str | None = None) -> SpawnerJournal:
    """The journal of a spawner with a command `1` that runs, `2` that has ended and `3` that was refused."""
    journal = SpawnerJournal(home, {"boot_id": boot_id() if boot is None else boot, "pid": 1, "started": 2})
    for name in ("1", "2", "3"):
        journal.ordered(name, home / name)
    journal.launched("1", 77, MOMENTS)
    journal.refused("3")
    journal.ended("2", WORDS, {"stdout": (9, 9, 9)})
    journal.sync()
    return journal


def test_an_end_is_told_as_it_was_written(home: Path) -> None:
    begin(home)
    assert Remains(home).found("2") == Exited(END, {LogStream.STDOUT: Extent(9, 9, 9)})


def test_what_had_no_end_has_vanished_with_what_it_printed(home: Path) -> None:
    begin(home)
    (home / "1").mkdir()
    SpoolWriter(home / "1", "stdout").append(b"text")
    output = {LogStream.STDOUT: Extent(4, 4, 4), LogStream.STDERR: Extent()}
    assert Remains(home).found("1") == Vanished(boot_id(), 77, MOMENTS, output, KEEPER)


def test_what_was_ordered_and_not_seen_to_run_may_have_begun(home: Path) -> None:
    begin(home).ordered("4", home / "4")
    found = Remains(home).found("4")
    assert isinstance(found, Vanished)
    assert found.pid is None


@pytest.mark.parametrize("boot", [None, "another run of the machine"])
def test_what_was_refused_never_began(home: Path, boot: str | None) -> None:
    begin(home, boot)
    assert Remains(home).found("3") == NeverBegan()


def test_what_is_not_there_never_began_if_the_machine_ran_through(home: Path) -> None:
    begin(home)
    assert Remains(home).found("unknown") == NeverBegan()


@pytest.mark.parametrize("boot", ["another run of the machine", ""])
def test_what_is_not_there_may_have_begun_before_the_machine_went_down(home: Path, boot: str) -> None:
    begin(home, boot)
    assert Remains(home).found("unknown") == Vanished(boot)


def test_what_is_not_there_never_began_if_the_spawner_had_ended_in_peace(home: Path) -> None:
    begin(home, "another run of the machine").close()
    assert Remains(home).found("unknown") == NeverBegan()


def test_what_is_not_in_a_torn_journal_may_have_begun(home: Path) -> None:
    begin(home)
    with (home / "journal").open("ab") as journal:
        journal.write(b"\x20\0\0")
    remains = Remains(home)
    assert remains.found("unknown") == Vanished(boot_id(), keeper=KEEPER)
    assert isinstance(remains.found("2"), Exited)
    assert not remains.is_damaged


def test_what_lies_behind_a_damage_is_still_told(home: Path) -> None:
    begin(home)
    journal = bytearray((home / "journal").read_bytes())
    journal[journal.index(b'{"id":"1"')] ^= 1
    (home / "journal").write_bytes(journal)
    remains = Remains(home)
    assert remains.is_damaged
    assert isinstance(remains.found("2"), Exited)
    found = remains.found("1")
    assert isinstance(found, Vanished)
    assert (found.pid, found.output) == (77, {})
    assert remains.found("unknown") == Vanished(boot_id(), keeper=KEEPER)


@pytest.mark.parametrize("content", [None, b"", b"NODELINK another file"])
def test_of_a_journal_that_is_none_nothing_is_known(home: Path, content: bytes | None) -> None:
    if content is not None:
        (home / "journal").write_bytes(content)
    assert Remains(home).found("1") == Vanished("")


@pytest.mark.parametrize("lives", [True, False])
def test_a_copied_journal_of_a_spawner_that_lives_does_not_tell_that_something_never_began(
    home: Path, lives: bool
) -> None:
    """What was ordered since is not in the copy."""
    me = os.getpid()
    moment = started(me)
    assert moment is not None
    SpawnerJournal(home, {"boot_id": boot_id(), "pid": me, "started": moment if lives else moment - 1})

    found = Remains(home).found("1")

    assert found == (Vanished(boot_id(), keeper=Keeper(me, moment)) if lives else NeverBegan())
