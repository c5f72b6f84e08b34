"""The rules of priority in the server's file: how they are read, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodelink.settings import SettingError
from nodelink_server.priority_rules import MOST_RULES
from nodelink_server.settings import ServerSettings, read_server_settings
from tests.support.pages import blocks_of
from tests.support.processes import ROOT

AGENT = "0190f3a2-7c1e-7abc-8def-0123456789ab"


def read(directory: Path, text: str) -> ServerSettings:
    """The settings of a server whose file has this text."""
    file = directory / "nodelink.toml"
    file.write_text(text, encoding="utf-8")
    return read_server_settings([f"--config={file}"], {})


def test_without_any_there_are_none() -> None:
    assert read_server_settings([], {}).priority_rules == {}


def test_rules_have_a_number_or_a_name(tmp_path: Path) -> None:
    rules = f"""
    [priority_rules]
    "agent:{AGENT}" = 100
    "label:team=blue, and green=too" = "high"
    "label:env=" = 1
    "type:shell" = "LOW"
    """
    assert read(tmp_path, rules).priority_rules == {
        f"agent:{AGENT}": 100,
        "label:team=blue, and green=too": 75,
        "label:env=": 1,
        "type:shell": 25,
    }


def test_they_may_stand_in_the_table_of_the_server(tmp_path: Path) -> None:
    assert read(tmp_path, '[server.priority_rules]\n"type:echo" = 7').priority_rules == {"type:echo": 7}


def test_those_of_the_page_are_right(tmp_path: Path) -> None:
    [block] = [block for block in blocks_of(ROOT / "docs" / "ordering.md") if block.language == "toml"]
    assert len(read(tmp_path, block.text).priority_rules) == 3


@pytest.mark.parametrize(
    "rule, words",
    [
        ("pool:default = 3", "is not TOML"),
        ('"pool:default" = 3', "'pool:default' is not a rule; write agent:ID, label:NAME=VALUE or type:TYPE"),
        ("shell = 3", "'shell' is not a rule"),
        ('"agent:build-1" = 3', "'agent:build-1': 'build-1' is not the id of an agent"),
        ('"label:blue" = 3', "'label:blue': write label:NAME=VALUE, as the metadata of a task has it"),
        ('"label:=blue" = 3', "'label:=blue': write label:NAME=VALUE"),
        ('"type:" = 3', "'type:': '' is not a type of tasks"),
        ('"type:shell" = 0', "'type:shell': 0 is not a priority; use 1 to 100, or one of LOW, NORMAL, HIGH, CRITICAL"),
        ('"type:shell" = 101', "'type:shell': 101 is not a priority"),
        ('"type:shell" = "50"', "'type:shell': '50' is not a priority"),
        ('"type:shell" = true', "'type:shell': True is not a priority"),
        ('"type:shell" = 2.5', "'type:shell': 2.5 is not a priority"),
        ('"type:shell" = 2030-01-31', "'type:shell': '2030-01-31' is not a priority"),
    ],
)
def test_a_wrong_rule_is_told_with_the_file_that_has_it(tmp_path: Path, rule: str, words: str) -> None:
    with pytest.raises(SettingError) as refused:
        read(tmp_path, f"[priority_rules]\n{rule}")
    assert words in str(refused.value)
    assert str(tmp_path / "nodelink.toml") in str(refused.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"setting priority_rules \(from .*\): must be a table"):
        read(tmp_path, "priority_rules = 3")


@pytest.mark.parametrize("more", [0, 1])
def test_there_are_only_so_many(tmp_path: Path, more: int) -> None:
    rules = "\n".join(f'"type:t{number}" = 3' for number in range(MOST_RULES + more))
    if not more:
        assert len(read(tmp_path, f"[priority_rules]\n{rules}").priority_rules) == MOST_RULES
        return
    with pytest.raises(SettingError, match="has 1,001 rules; at most 1,000 are allowed"):
        read(tmp_path, f"[priority_rules]\n{rules}")


def test_how_many_may_run_is_a_setting() -> None:
    assert read_server_settings([], {}).max_running == 0
    assert read_server_settings([], {"NODELINK_MAX_RUNNING": "7"}).max_running == 7
    with pytest.raises(SettingError, match="max_running"):
        read_server_settings(["--max-running=-1"], {})
