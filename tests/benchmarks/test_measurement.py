"""Percentiles and medians."""

from __future__ import annotations

import pytest

from benchmarks.measurement import medians, milliseconds, percentile


@pytest.mark.parametrize(
    "percent, expected", [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)], ids=["p1", "p50", "p99", "p100"]
)
def test_a_percentile_is_one_of_the_values(percent: int, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == expected


def test_percentiles_of_one_value_are_that_value() -> None:
    assert [percentile([3.0], percent) for percent in (1, 50, 99)] == [3.0, 3.0, 3.0]


def test_the_p99_of_few_values_is_the_worst_of_them() -> None:
    assert percentile([1.0, 9.0, 2.0], 99) == 9.0


def test_times_are_told_in_milliseconds() -> None:
    assert milliseconds("one", [0.001, 0.002, 0.003]) == {"one.p50": 2.0, "one.p99": 3.0}


def test_the_median_is_over_the_rounds_of_each_figure() -> None:
    assert medians({"a": [3.0, 1.0, 2.0], "b": [4.0, 2.0], "none": []}) == {"a": 2.0, "b": 3.0}
