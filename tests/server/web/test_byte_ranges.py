"""Which bytes a Range header asks for."""

from __future__ import annotations

import pytest

from nodelink_server.web.ranges import parse_range


@pytest.mark.parametrize(
    "header, total, bounds",
    [
        ("bytes=0-4", 10, (0, 5)),
        ("bytes=5-", 10, (5, 10)),
        ("bytes=5-99", 10, (5, 10)),
        ("bytes=9-9", 10, (9, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-99", 10, (0, 10)),
        (" bytes = 0-0 ", 10, (0, 1)),
        ("bytes=10-", 10, None),
        ("bytes=10-12", 10, None),
        ("bytes=-0", 10, None),
        ("bytes=0-", 0, None),
        ("bytes=-5", 0, None),
    ],
)
def test_a_range_is_what_there_is_of_it(header: str, total: int, bounds: tuple[int, int] | None) -> None:
    found = parse_range(header)
    assert found is not None
    assert found.within(total) == bounds


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=4-2",
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes=a-b",
        "bytes=0-1x",
        "bytes=+1-2",
    ],
)
def test_what_is_no_single_range_of_bytes_is_passed_over(header: str) -> None:
    assert parse_range(header) is None


def test_a_number_that_no_output_could_reach_is_passed_over() -> None:
    assert parse_range(f"bytes={'9' * 19}-") is None
