"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nodelink.durations import MAX_MS, format_duration, format_duration_ms, parse_duration, parse_duration_ms


@pytest.mark.parametrize(
    "text, ms",
    [
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("30d", 2_592_000_000),
        ("1.5s", 1_500),
        ("0", 0),
        ("0s", 0),
        (" 2m ", 120_000),
    ],
)
def test_durations_are_read(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms
    assert parse_duration(text) == ms / 1000


@pytest.mark.parametrize(
    "text", ["", "5", "-1s", "1h-1m", "30m1h", "1m1m", "1 h", "1y", "s", "1e3s", "\uff11s", "inf", "9" * 400 + "d"]
)
def test_what_is_no_duration_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer than"):
        parse_duration_ms(text)


@given(some.integers(min_value=0, max_value=MAX_MS))
def test_what_is_written_can_be_read_again(ms: int) -> None:
    assert parse_duration_ms(format_duration_ms(ms)) == ms


def test_durations_are_written_in_the_largest_units() -> None:
    assert format_duration(90.5) == "1m30s500ms"
    assert format_duration(0) == "0s"
    assert format_duration_ms(-1_000) == "-1s"
