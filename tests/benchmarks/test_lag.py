"""How late the loop was, by two looks at a histogram."""

from __future__ import annotations

import math

import pytest

from benchmarks.lag import lag_between

BEFORE = {0.001: 10.0, 0.02: 10.0, 0.05: 10.0, math.inf: 10.0}


@pytest.mark.parametrize(
    "counts, percent, seconds",
    [
        ((100, 100, 100, 100), 50, 0.0005),
        ((0, 100, 100, 100), 50, 0.0105),
        ((90, 98, 100, 100), 99, 0.035),
        ((90, 98, 98, 100), 99, 0.05),
        ((0, 0, 0, 0), 99, 0.0),
    ],
)
def test_the_place_within_a_bucket_is_reckoned(counts: tuple[int, ...], percent: float, seconds: float) -> None:
    after = {bound: 10.0 + count for bound, count in zip(BEFORE, counts, strict=True)}

    assert lag_between(BEFORE, after, percent) == pytest.approx(seconds)
