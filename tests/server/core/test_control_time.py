"""Control time ages nothing while nothing can be committed, and tells since when nothing was in its way."""

from __future__ import annotations

from nodelink_server.core.clock import LONGEST_GAP_MS, ControlTime
from tests.support.clock import ManualClock

LONG = 60.0


def test_more_than_the_longest_gap_without_a_commit_is_not_counted() -> None:
    clock = ManualClock()
    control = ControlTime(clock)
    clock.advance(LONG)

    assert control.now() == LONGEST_GAP_MS


def test_short_gaps_are_counted_and_no_outage() -> None:
    clock = ManualClock()
    control = ControlTime(clock)
    for _ in range(10):
        clock.advance(LONGEST_GAP_MS / 1000)
        control.committed()

    assert (control.now(), control.gap_ended_at) == (10 * LONGEST_GAP_MS, 0)


def test_an_outage_has_not_ended_before_a_commit_shows_it() -> None:
    clock = ManualClock()
    control = ControlTime(clock)
    clock.advance(LONG)
    in_it = control.gap_ended_at
    control.committed()
    clock.advance(1.0)

    assert (in_it, control.gap_ended_at) == (LONGEST_GAP_MS, LONGEST_GAP_MS)
