"""Tables that fit, and times as people tell them."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from nodelink.cli.agents import STATUSES
from nodelink.cli.colours import OF_STATUSES
from nodelink.cli.table import Column, Form, card_text, field, key, table_text, time_field
from nodelink.cli.times import ago, moment, read_past, rough
from nodelink.client.reading import AGENT_STATUSES
from nodelink.task import TaskStatus

NOW = 1_900_000_000_000
COLUMNS = (
    key("id"),
    field("name", weight=50),
    field("note", weight=10),
    Column(title="STATUS", cell=lambda form, _now: form["status"], weight=90, is_status=True),
    time_field("created_at", "CREATED", weight=40),
)


def _form(**values: str) -> Form:
    return {"id": "i" * 12, "name": "n" * 20, "note": "o" * 30, "status": "failed", **values}


def _shown(form: Form, width: int | None) -> list[str]:
    return click.unstyle(table_text([form], COLUMNS, now=NOW, width=width)).splitlines()


def test_without_a_terminal_nothing_is_cut() -> None:
    form = _form(created_at=str(moment(NOW - 200_000)))

    assert _shown(form, None)[1].split() == ["i" * 12, "n" * 20, "o" * 30, "failed", "3m20s", "ago"]


@pytest.mark.parametrize(
    "width, cells",
    [
        (90, ["i" * 12, "n" * 20, "o" * 30, "failed"]),
        (70, ["i" * 12, "n" * 20, "o" * 16 + "…", "failed"]),
        (60, ["i" * 12, "n" * 20, "o" * 6 + "…", "failed"]),
        (48, ["i" * 12, "n" * 8 + "…", "o" * 5 + "…", "failed"]),
        (40, ["i" * 12, "n" * 8 + "…", "failed"]),
        (30, ["i" * 12, "n" * 7 + "…", "failed"]),
        (24, ["i" * 12, "failed"]),
        (5, ["i" * 12]),
    ],
)
def test_what_matters_least_is_shortened_and_then_left_out(width: int, cells: list[str]) -> None:
    shown = _shown(_form(), width)

    assert shown[1].split() == cells
    assert max(map(len, shown)) <= max(width, 12)


def test_wide_and_combining_characters_are_counted_as_a_terminal_shows_them() -> None:
    lines = _shown(_form(name="日本語", note="e\u0301"), 200)

    assert lines[1].index("e\u0301") == lines[0].index("NOTE") - 3  # three of them take two places each
    assert _shown(_form(name="日本語" * 9), 40)[1].split()[1] == "日本語日…"


def test_a_break_in_a_name_does_not_break_the_line() -> None:
    assert len(_shown(_form(name="a\nb\x1b[2J"), None)) == 2


def test_an_empty_list_still_has_its_titles() -> None:
    assert click.unstyle(table_text([], COLUMNS, now=NOW, width=80)) == "ID  NAME  NOTE  STATUS  CREATED\n"


def test_a_card_folds_under_its_value_and_leaves_out_what_is_empty() -> None:
    shown = click.unstyle(card_text({"id": "x", "text": "word " * 10, "none": None, "no": {}}, now=NOW, width=30))

    assert [line[:6] for line in shown.splitlines()] == ["id    ", "text  ", "      ", "      "]


def test_every_status_has_a_colour() -> None:
    assert set(TaskStatus) | set(AGENT_STATUSES) <= set(OF_STATUSES)
    assert tuple(AGENT_STATUSES) == STATUSES


@pytest.mark.parametrize(
    "seconds, told",
    [
        (0.25, "250ms"),
        (1, "1s"),
        (59.9, "59s"),
        (60, "1m"),
        (200, "3m20s"),
        (3_000, "50m"),
        (5_400, "1h30m"),
        (43_300, "12h"),
        (100_000, "1d3h"),
        (1_000_000, "11d"),
    ],
)
def test_a_length_of_time_is_told_roughly(seconds: float, told: str) -> None:
    assert rough(seconds) == told


def test_a_moment_is_told_from_now_in_both_directions() -> None:
    assert [ago(moment(NOW + ms), NOW) for ms in (-500, -180_000, 7_200_000)] == ["now", "3m ago", "in 2h"]
    assert ago(None, NOW) == ""


@pytest.mark.parametrize("text", ["2030-01-31T09:30:00Z", "2030-01-31T10:30:00+01:00"])
def test_a_moment_in_the_past_can_be_written_out(text: str) -> None:
    assert read_past(text) == datetime(2030, 1, 31, 9, 30, tzinfo=UTC)


def test_a_moment_in_the_past_can_be_how_long_ago_it_was() -> None:
    before, after = read_past("1h"), datetime.now(UTC)

    assert 3_600 <= (after - before).total_seconds() < 3_660


@pytest.mark.parametrize("text", ["soon", "2030-01-31", "2030-01-31T09:30:00", "-1h", ""])
def test_a_moment_that_could_mean_several_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither how long ago"):
        read_past(text)
