"""What a spawner writes down: in which order, on a full disk, and when most of it was forgotten."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nodelink_agent import spawner_journal
from nodelink_agent.records import Damage, scan
from nodelink_agent.spawner_journal import FORMAT, Kind, SpawnerJournal, read_words
from tests.support.full_disk import full_disk

MOMENTS = range(5, 7)
END = {"exit_code": 0, "signal": None}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "spawners" / "here"
    home.mkdir(parents=True)
    return home


def told(home: Path) -> list[tuple[Kind, str]]:
    """The kinds of the records, and of which command each is."""
    found = scan((home / "journal").read_bytes(), FORMAT)
    assert found.damage is Damage.NONE
    return [(Kind(record.kind), read_words(record.payload).get("id", "")) for record in found.records]


def born(home: Path) -> SpawnerJournal:
    return SpawnerJournal(home, {"boot_id": "b", "pid": 1, "started": 2})


def size(home: Path) -> int:
    return (home / "journal").stat().st_size


def test_the_life_of_a_command_is_written_in_order(home: Path) -> None:
    journal = born(home)
    journal.ordered("1", home)
    journal.launched("1", 77, MOMENTS)
    journal.ordered("2", home)
    journal.refused("2")
    journal.ended("1", END, {})
    assert (journal.is_durable, told(home)[-1]) == (False, (Kind.REFUSED, "2"))
    assert journal.sync()
    assert journal.is_durable
    journal.close()
    assert told(home) == [
        (Kind.BORN, ""),
        (Kind.ORDERED, "1"),
        (Kind.LAUNCHED, "1"),
        (Kind.ORDERED, "2"),
        (Kind.REFUSED, "2"),
        (Kind.ENDED, "1"),
        (Kind.CLOSED, ""),
    ]


@pytest.mark.parametrize("room", [0, 1, 20])
def test_on_a_full_disk_nothing_may_begin(home: Path, room: int) -> None:
    journal = born(home)
    with full_disk(size(home) + room), pytest.raises(OSError, match="large"):
        journal.ordered("1", home)
    assert told(home) == [(Kind.BORN, "")]
    journal.ordered("2", home)
    assert told(home)[1:] == [(Kind.ORDERED, "2")]


@pytest.mark.parametrize("room", [0, 1, 50])
def test_on_a_full_disk_ends_wait_and_are_written_later(home: Path, room: int) -> None:
    journal = born(home)
    for name in ("1", "2"):
        journal.ordered(name, home)
        journal.launched(name, 77, MOMENTS)
    before = told(home)
    with full_disk(size(home) + room):
        journal.ended("1", END, {})
        assert not journal.sync()
        journal.ended("2", END, {})
        assert not journal.sync()
        assert (journal.is_durable, told(home)) == (False, before)
    assert journal.sync()
    assert told(home) == [*before, (Kind.ENDED, "1"), (Kind.ENDED, "2")]


def test_after_a_sync_that_failed_the_end_is_written_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = born(home)
    journal.ordered("1", home)
    journal.ended("1", END, {})
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", _fail)
        assert not journal.sync()
    journal.ordered("2", home)
    assert told(home)[1:] == [(Kind.ORDERED, "1"), (Kind.ORDERED, "2")]
    assert journal.sync()
    assert told(home)[3:] == [(Kind.ENDED, "1")]


def _fail(_file: int) -> None:
    raise OSError(errno.EIO, "the disk has failed")


def test_a_launch_that_found_no_room_is_written_later(home: Path) -> None:
    journal = born(home)
    journal.ordered("1", home)
    with full_disk(size(home)):
        journal.launched("1", 77, MOMENTS)
    assert not journal.is_durable
    journal.ended("1", END, {})
    assert journal.sync()
    assert told(home)[2:] == [(Kind.LAUNCHED, "1"), (Kind.ENDED, "1")]


def test_who_is_forgotten_is_waited_for_no_longer(home: Path) -> None:
    journal = born(home)
    journal.ordered("1", home)
    journal.ended("1", END, {})
    journal.forget("1")
    assert journal.is_durable


def test_when_most_of_it_was_forgotten_it_is_written_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawner_journal, "RENEW_BYTES", 4000)
    journal = born(home)
    journal.ordered("kept", home)
    journal.launched("kept", 77, MOMENTS)
    for number in range(200):
        journal.ordered(str(number), home)
        journal.ended(str(number), END, {})
        journal.sync()
        journal.forget(str(number))
        assert size(home) < 2 * spawner_journal.RENEW_BYTES + 200
    journal.ended("kept", END, {})
    assert journal.sync()
    kept = [entry for entry in told(home) if entry[1] in {"", "kept"}]
    assert kept == [(Kind.BORN, ""), (Kind.ORDERED, "kept"), (Kind.LAUNCHED, "kept"), (Kind.ENDED, "kept")]


def test_while_all_of_it_is_needed_it_grows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawner_journal, "RENEW_BYTES", 4000)
    journal = born(home)
    for number in range(200):
        journal.ordered(str(number), home)
        journal.ended(str(number), END, {})
        assert journal.sync()
    assert len(told(home)) == 401
