"""What the samples of a steady load tell."""

from __future__ import annotations

import pytest

from benchmarks.memory.steady import figures_of, rate_between


def test_the_warm_up_is_not_counted() -> None:
    memory = [(float(minute), 100.0 * minute if minute < 2 else 500.0 + 3 * minute) for minute in range(10)]
    ended = [(float(minute), 6_000.0 * minute) for minute in range(11)]

    figures = figures_of({"server": memory}, ended, 10.0)

    assert figures["memory.steady.server.slope"] == pytest.approx(3.0)
    assert figures["memory.steady.server.kib"] == pytest.approx(516.5)


def test_the_first_and_the_last_tenth_are_compared() -> None:
    ended = [(tenths / 10, 600.0 * tenths if tenths < 50 else 30_000 + 300.0 * (tenths - 50)) for tenths in range(101)]

    figures = figures_of({"server": ended}, ended, 10.0)

    assert figures["memory.steady.first"] == pytest.approx(100)
    assert figures["memory.steady.last"] == pytest.approx(50)


def test_a_time_without_two_samples_is_measured_from_the_one_before() -> None:
    assert rate_between([(0.0, 0.0), (1.0, 60.0), (2.0, 180.0)], 1.9, 2.1) == pytest.approx(2.0)
