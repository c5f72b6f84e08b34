"""Amounts of resources as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nodelink.quantities import LARGEST_QUANTITY, format_quantity, parse_quantity


@pytest.mark.parametrize(
    "text, thousandths",
    [
        ("4", 4_000),
        ("0", 0),
        ("0.5", 500),
        ("0.005", 5),
        ("500m", 500),
        ("1500m", 1_500),
        (" 2 ", 2_000),
        ("8GiB", 8 * 1024**3 * 1000),
        ("8Gi", 8 * 1024**3 * 1000),
        ("1.5Ki", 1_536_000),
        ("1Mi", 1024**2 * 1000),
        ("1Ti", 1024**4 * 1000),
        ("2K", 2_000_000),
        ("2k", 2_000_000),
        ("2MB", 2 * 10**9),
        ("2G", 2 * 10**12),
        ("2T", 2 * 10**15),
        ("64B", 64_000),
        ("1000T", LARGEST_QUANTITY),
    ],
)
def test_quantities_are_read(text: str, thousandths: int) -> None:
    assert parse_quantity(text) == thousandths


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "GiB",
        "-1",
        "+1",
        "1.2345",
        "1e3",
        ".5",
        "5.",
        "1 Gi",
        "1kiB",
        "1Pi",
        "1gi",
        "mi",
        "1mB",
        "\uff11",
        "1_0",
    ],
)
def test_what_is_no_quantity_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a quantity; write it like 4, 0\.5, 500m or 8GiB"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1001T", "1000000000000001", "9" * 18 + "Ti"])
def test_more_than_the_most_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is more than 1000T"):
        parse_quantity(text)


def test_less_than_a_thousandth_is_refused() -> None:
    with pytest.raises(ValueError, match="finer than a thousandth"):
        parse_quantity("0.5m")


@pytest.mark.parametrize(
    "thousandths, text",
    [
        (0, "0"),
        (500, "0.5"),
        (5, "0.005"),
        (4_000, "4"),
        (1_024_000, "1024"),
        (1024**2 * 1000, "1Mi"),
        (8 * 1024**3 * 1000, "8Gi"),
        (1536 * 1024**2 * 1000, "1536Mi"),
        (10**9, "1M"),
        (999_999_000, "999999"),
        (16_777_744_384_000, "16384516Ki"),
        (LARGEST_QUANTITY, "1000T"),
        (1024**3 * 1000 + 1, "1073741824.001"),
    ],
)
def test_quantities_are_written_shortly(thousandths: int, text: str) -> None:
    assert format_quantity(thousandths) == text


@given(some.integers(min_value=0, max_value=LARGEST_QUANTITY))
def test_what_is_written_can_be_read_again(thousandths: int) -> None:
    assert parse_quantity(format_quantity(thousandths)) == thousandths
