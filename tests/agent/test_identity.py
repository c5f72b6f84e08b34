"""Who the agent is, across starts, crashes and damage."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from uuid import UUID

import pytest

from nodelink_agent.identity import DirectoryHeld, IdentityError, host_id, open_identity


def test_the_first_start_makes_an_identity_that_later_ones_keep(tmp_path: Path) -> None:
    with open_identity(tmp_path / "agent") as first:
        made = first.identity
    with open_identity(tmp_path / "agent") as second:
        assert second.identity == made
    assert UUID(made.agent_id).version == 7
    assert len(made.secret_bytes) == 32


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "agent"
    with open_identity(directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "identity.json").stat().st_mode) == 0o600


def test_the_secret_is_not_shown(tmp_path: Path) -> None:
    with open_identity(tmp_path) as file:
        assert file.identity.secret not in repr(file.identity)


def test_a_session_number_is_on_disk_before_it_is_used_and_never_used_again(tmp_path: Path) -> None:
    with open_identity(tmp_path) as file:
        assert [file.next_session(), file.next_session()] == [1, 2]
        assert json.loads((tmp_path / "identity.json").read_text())["session"] == 2
    with open_identity(tmp_path) as file:
        assert file.next_session() == 3


def test_a_session_number_that_others_have_used_is_passed_and_remembered(tmp_path: Path) -> None:
    with open_identity(tmp_path) as file:
        file.next_session()
        assert file.identity.remembers_since == 0
        file.raise_session(41)
        assert (file.identity.remembers_since, file.next_session()) == (42, 42)
    with open_identity(tmp_path) as file:
        assert (file.identity.remembers_since, file.next_session()) == (42, 43)


def test_an_identity_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    with open_identity(tmp_path) as file:
        before = file.identity
    content = json.loads((tmp_path / "identity.json").read_text())
    del content["remembers_since"]
    (tmp_path / "identity.json").write_text(json.dumps(content))
    with open_identity(tmp_path) as file:
        assert file.identity == before


def test_two_agents_cannot_share_a_directory(tmp_path: Path) -> None:
    with (
        open_identity(tmp_path),
        pytest.raises(DirectoryHeld, match="another agent uses the directory"),
        open_identity(tmp_path),
    ):
        pass
    with open_identity(tmp_path) as file:
        assert file.next_session() == 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"agent_id": "x", "secret": "00", "session": 1}', b"\xff"],
    ids=["empty", "cut", "a list", "no fields", "wrong values", "not text"],
)
def test_a_damaged_file_is_refused_by_name_and_left_alone(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "identity.json"
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
    with pytest.raises(IdentityError, match=r"identity\.json is damaged"), open_identity(tmp_path):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("session", [-1, 1.5, "7", None])
def test_a_session_that_is_no_number_is_damage(tmp_path: Path, session: object) -> None:
    with open_identity(tmp_path):
        pass
    path = tmp_path / "identity.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "session": session}))
    with pytest.raises(IdentityError, match="damaged"), open_identity(tmp_path):
        pass


def test_a_place_that_is_no_directory_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("")
    with pytest.raises(IdentityError, match="agent cannot be used"), open_identity(tmp_path / "agent"):
        pass


def test_the_host_keeps_its_id_for_as_long_as_it_runs() -> None:
    assert host_id() == host_id()
    assert len(host_id()) == 32
