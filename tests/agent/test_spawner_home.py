"""The place of one spawner: whether somebody lives there, and who may call."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from nodelink_agent.spawner_home import close_door, is_inhabited, is_ours, knock, make_home, open_door


def test_a_home_is_its_owners_alone_and_inhabited_while_the_lock_is_held(tmp_path: Path) -> None:
    home, lock = make_home(tmp_path / "agent")
    assert stat.S_IMODE(home.stat().st_mode) == stat.S_IMODE(home.parent.stat().st_mode) == 0o700
    assert is_inhabited(home)
    os.close(lock)
    assert not is_inhabited(home)


def test_every_home_has_a_name_of_its_own(tmp_path: Path) -> None:
    homes = {make_home(tmp_path) for _ in range(3)}
    assert len({home.name for home, _ in homes}) == 3
    for _, lock in homes:
        os.close(lock)


def test_where_nothing_is_nobody_lives_or_answers(tmp_path: Path) -> None:
    assert not is_inhabited(tmp_path)
    assert knock(tmp_path) is None
    assert knock(tmp_path / "nowhere") is None


def test_who_knocks_is_heard_until_the_door_is_closed(tmp_path: Path) -> None:
    before = Path.cwd()
    home, lock = make_home(tmp_path)
    try:
        door = open_door(home)
    finally:
        os.chdir(before)
    caller = knock(home)
    assert caller is not None
    answered, _ = door.accept()
    assert is_ours(answered)
    close_door(home, door)
    assert knock(home) is None
    for end in (caller, answered):
        end.close()
    os.close(lock)


def test_another_user_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        assert not is_ours(ours)
