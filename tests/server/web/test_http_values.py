"""What the HTTP door makes of text by itself: JSON, moments, page tokens, codes."""

from __future__ import annotations

import pytest

from nodelink.errors import ErrorCode, InvalidTask, NoAgent, Overloaded, TaskNotFound
from nodelink.task import TaskStatus
from nodelink_server.core.jsontext import MOST_DEPTH, read_json
from nodelink_server.core.ports import TaskQuery
from nodelink_server.web.errors import STATUSES, problem_of
from nodelink_server.web.paging import page_token, turned
from nodelink_server.web.times import moment, parse_moment


def test_every_code_has_an_http_status() -> None:
    assert set(STATUSES) == set(ErrorCode)


def test_whoever_may_come_again_is_told_when_even_if_nobody_knows() -> None:
    for error in (NoAgent(), Overloaded()):
        assert problem_of(error, "r").headers["retry-after"] == "5"
    assert "retry-after" not in problem_of(TaskNotFound(), "r").headers


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b"[NaN]",
        b"[Infinity]",
        b"[1e999]",
        b"[" + b"9" * 101 + b"]",
        b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'["\\ud800"]',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"{",
        b"",
        b"{} {}",
    ],
)
def test_json_that_two_readers_could_understand_differently_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_json(text)


@pytest.mark.timeout(10)
def test_a_name_given_twice_is_found_among_very_many() -> None:
    names = b",".join(b'"%d":0' % number for number in range(80_000))
    with pytest.raises(ValueError, match="'79999' is given twice"):
        read_json(b"{%s}" % b",".join([names, b'"79999":1']))


def test_json_as_deep_as_allowed_is_read() -> None:
    text = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH
    assert repr(read_json(text)) == text.decode()


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert read_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    "text, ms",
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T09:30:00.250Z", 1_769_851_800_250),
        ("2026-01-31T10:30:00.250+01:00", 1_769_851_800_250),
        ("2026-01-31t09:30:00.2500001z", 1_769_851_800_250),
    ],
)
def test_moments_are_read_in_any_zone(text: str, ms: int) -> None:
    assert parse_moment(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-31", "2026-01-31T09:30:00", "2026-13-31T09:30:00Z", "20260131T093000Z", "2026-W05-6", "0"],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a moment"):
        parse_moment(text)


def test_moments_are_written_in_utc_with_milliseconds() -> None:
    assert moment(1_769_851_800_250) == "2026-01-31T09:30:00.250Z"
    assert parse_moment(moment(253_402_300_799_999)) == 253_402_300_799_999


def test_a_page_token_leads_to_its_page() -> None:
    query = TaskQuery(page_size=10, statuses=frozenset({TaskStatus.FAILED, TaskStatus.LOST}), pool="p")
    assert turned(query, page_token(query, before_key=77)).before_key == 77


def test_a_page_may_change_its_size_but_not_its_filters() -> None:
    token = page_token(TaskQuery(page_size=10, pool="p"), before_key=77)
    assert turned(TaskQuery(page_size=20, pool="p"), token).before_key == 77
    with pytest.raises(InvalidTask, match="other filters"):
        turned(TaskQuery(page_size=10, pool="q"), token)


@pytest.mark.parametrize("token", ["x", "not a token", "ÄÖÜ", "AAAA", "A" * 400])
def test_what_is_no_page_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidTask, match="is not one that this server gave"):
        turned(TaskQuery(), token)
