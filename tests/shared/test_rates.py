"""Rates as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nodelink.rates import format_rate, parse_rate
from nodelink.task import Rate


@pytest.mark.parametrize(
    "text, rate",
    [
        ("10/1m", Rate(10, 60_000)),
        ("1/1h30m", Rate(1, 5_400_000)),
        ("0/0", Rate(0, 0)),
        ("1000/500ms", Rate(1_000, 500)),
    ],
)
def test_rates_are_read(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "10", "10/", "/1m", "-1/1m", "1.5/1m", "1 /1m", "1/ 1m", " 1/1m", "\u0661/1m", "1/1m\n"]
)
def test_what_is_no_rate_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a rate; write it like 10/1m, which is ten starts in any minute"):
        parse_rate(text)


def test_a_rate_over_what_is_no_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="'minute' is not a duration"):
        parse_rate("10/minute")


@given(some.builds(Rate, some.integers(0, 10**9 - 1), some.integers(0, 10**9)))
def test_what_is_written_can_be_read_again(rate: Rate) -> None:
    assert parse_rate(format_rate(rate)) == rate
