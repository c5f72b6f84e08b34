"""Memory of processes: read, shared among what it is for, and how it grows."""

from __future__ import annotations

import os

import pytest

from benchmarks.resident import own_in, own_kib, per_item, resident_in, resident_kib, slope


def test_resident_memory_is_read_in_kib() -> None:
    assert resident_in("Name:\tpython\nVmHWM:\t   9000 kB\nVmRSS:\t   4321 kB\n") == 4_321


def test_pages_of_files_are_not_its_own() -> None:
    assert own_in("VmRSS:\t   9000 kB\nRssAnon:\t   4000 kB\nRssFile:\t   5000 kB\n") == 4_000


def test_a_process_that_has_ended_has_none() -> None:
    assert resident_in("Name:\tpython\nState:\tZ (zombie)\n") == 0


def test_our_own_process_has_some() -> None:
    assert resident_kib(os.getpid()) > own_kib(os.getpid()) > 1_000


def test_what_was_taken_is_shared_by_all_of_them() -> None:
    assert per_item(1_000.0, 1_500.0, 250) == 2.0


def test_nothing_cannot_share() -> None:
    with pytest.raises(ValueError, match="shared"):
        per_item(1.0, 2.0, 0)


@pytest.mark.parametrize(
    "points, expected",
    [
        ([(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)], 2.0),
        ([(0.0, 3.0), (1.0, 3.0), (5.0, 3.0)], 0.0),
        ([(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)], 0.5),
        ([(10.0, 1.0), (0.0, 11.0)], -1.0),
    ],
)
def test_the_slope_is_that_of_least_squares(points: list[tuple[float, float]], expected: float) -> None:
    assert slope(points) == pytest.approx(expected)


@pytest.mark.parametrize("points", [[], [(1.0, 1.0)], [(1.0, 1.0), (1.0, 2.0)]])
def test_points_in_one_place_have_no_slope(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="two places"):
        slope(points)
