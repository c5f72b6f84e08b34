"""The table `[assignment]` of the server's file, and what is wrong with one that is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nodelink.settings import SettingError
from nodelink_server.assignment_settings import MOST_SENDS, parse_assignment
from nodelink_server.core.assignment import AssignmentDelays
from nodelink_server.settings import read_server_settings
from tests.support.pages import blocks_of
from tests.support.processes import ROOT


def test_the_table_of_the_file_is_read_and_what_it_leaves_out_stays(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('[server.assignment]\nno_pool = "1m"\nsend_failed = ["500ms", "2s"]\n')
    settings = read_server_settings(["--config", str(file)], {})
    assert settings.assignment == AssignmentDelays(no_pool=60_000, send_failed=(500, 2_000))
    assert read_server_settings([], {}).assignment == AssignmentDelays()


@pytest.mark.parametrize(
    "table, words",
    [
        ([], "must be a table"),
        ({"no_pools": "1s"}, "'no_pools' is not known; use no_pool, no_agent_online, none_free, send_failed"),
        ({"none_free": "99ms"}, "none_free: '99ms' is not a duration from 100ms to 1h"),
        ({"none_free": "3601s"}, "none_free: '3601s' is not a duration"),
        ({"none_free": 10}, "none_free: 10 is not a duration"),
        ({"none_free": "soon"}, "none_free: "),
        ({"send_failed": "5s"}, "send_failed: must be a list of 1 to 20 durations"),
        ({"send_failed": []}, "send_failed: must be a list"),
        ({"send_failed": ["1s"] * (MOST_SENDS + 1)}, "send_failed: must be a list"),
        ({"send_failed": ["1s", 2]}, "send_failed: 2 is not a duration"),
    ],
)
def test_what_is_wrong_is_named(table: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        parse_assignment(json.dumps(table))


def test_bounds_are_within() -> None:
    assert parse_assignment(json.dumps({"none_free": "100ms", "no_pool": "1h"})).look_seconds == 0.1
    assert len(parse_assignment(json.dumps({"send_failed": ["1s"] * MOST_SENDS})).send_failed) == MOST_SENDS


def test_a_wrong_table_is_an_error_of_its_setting(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('[assignment]\nnone_free = "soon"\n')
    with pytest.raises(SettingError, match="assignment"):
        read_server_settings(["--config", str(file)], {})


def test_the_page_tells_the_defaults(tmp_path: Path) -> None:
    [block] = [one for one in blocks_of(ROOT / "docs" / "configuration.md") if "[assignment]" in one.text]
    file = tmp_path / "server.toml"
    file.write_text(block.text)
    assert set(block.text.split()) >= {"no_pool", "no_agent_online", "none_free", "send_failed"}
    assert read_server_settings(["--config", str(file)], {}).assignment == AssignmentDelays()
