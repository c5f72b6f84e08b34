"""How fast agents are let in, and when those that come too early are to come again."""

from __future__ import annotations

import heapq
import random

import pytest

from nodelink.errors import Overloaded
from nodelink_server.core.admission import LONGEST_WAIT, MOST_AGENTS, Admission
from nodelink_server.core.tally import Tally

RATE, BURST = 100, 200


def make_admission(rate: float = RATE) -> Admission:
    """One that lets so many hellos a second in."""
    return Admission(tally=Tally(), rate=rate)


def refused(admission: Admission, now: float) -> float | None:
    """When a hello may come again, in seconds from now; None: it was let in."""
    try:
        admission.check(now)
    except Overloaded as refusal:
        return refusal.retry_after
    return None


def returned(agents: int, *, until: float, lateness: float = 0.0) -> list[float]:
    """When each of a herd is let in, if all come at once and then as they are told, or a little later."""
    chance = random.Random(1)
    admission, admitted = make_admission(), []
    comings = [0.0] * agents
    while comings and (now := heapq.heappop(comings)) <= until:
        wait = refused(admission, now)
        if wait is None:
            admitted.append(now)
        else:
            heapq.heappush(comings, now + wait + lateness * chance.random())
    return admitted


def test_a_burst_is_let_in_and_not_one_more() -> None:
    admission = make_admission()
    assert [refused(admission, 5.0) for _ in range(BURST)] == [None] * BURST
    assert refused(admission, 5.0) is not None


def test_who_is_let_in_again_and_again_keeps_to_the_rate() -> None:
    admission = make_admission()
    hundredths = [refused(admission, hundredth / 1000) for hundredth in range(10_000)]
    assert BURST + 10 * RATE - 2 <= hundredths.count(None) <= BURST + 10 * RATE


def test_those_who_are_refused_at_once_are_told_to_come_one_after_another() -> None:
    admission = make_admission()
    waits = [wait for _ in range(1_000) if (wait := refused(admission, 7.0)) is not None]
    assert waits == pytest.approx([number / RATE for number in range(1, 801)])


def test_a_refusal_takes_nothing_from_those_who_come_in_time() -> None:
    admission = make_admission()
    for _ in range(10_000):
        refused(admission, 0.0)
    assert [refused(admission, 1.0) for _ in range(RATE)] == [None] * RATE


@pytest.mark.parametrize("lateness", [0.0, 0.5])
def test_a_thousand_who_come_as_they_are_told_are_all_in_within_a_minute(lateness: float) -> None:
    admitted = returned(1_000, until=60.0, lateness=lateness)
    assert len(admitted) == 1_000
    assert admitted[-1] < 20.0


def test_a_fleet_that_is_larger_than_the_line_gets_in_at_the_rate_all_the_same() -> None:
    admitted = returned(20_000, until=300.0, lateness=0.5)
    assert len(admitted) == 20_000
    assert admitted[-1] < 1.2 * 20_000 / RATE


def test_nobody_is_sent_away_for_longer_than_the_line_is() -> None:
    admission = make_admission()
    waits = [wait for _ in range(50_000) if (wait := refused(admission, 0.0)) is not None]
    assert max(waits) <= LONGEST_WAIT
    assert sum(wait <= 10.0 for wait in waits) < 0.4 * len(waits)


def test_the_smallest_rate_lets_one_in_after_another() -> None:
    admission = make_admission(0.1)
    assert [refused(admission, now) is None for now in (0.0, 9.9, 10.0, 19.9, 20.0)] == [True, False, True, False, True]


def test_without_a_rate_everybody_is_let_in() -> None:
    admission = make_admission(0)
    assert {refused(admission, 0.0) for _ in range(10_000)} == {None}


def test_one_more_than_all_that_may_be_connected_is_refused() -> None:
    tally = Tally()
    admission = Admission(tally=tally)
    admission.check(0.0, connected=MOST_AGENTS - 1)
    assert tally.hellos_refused == 0
    with pytest.raises(Overloaded) as refusal:
        admission.check(0.0, connected=MOST_AGENTS)
    assert refusal.value.retry_after == 60
    assert tally.hellos_refused == 1
