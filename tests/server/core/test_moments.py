"""Moments of attempts: due in order, and let go of when they matter no more."""

from __future__ import annotations

from nodelink.task import AttemptRef
from nodelink_server.core.moments import LEAST, Moments


def _ref(number: int) -> AttemptRef:
    return AttemptRef(f"t{number}", 1, number)


def test_they_are_due_in_order_and_once() -> None:
    moments = Moments(lambda ref: True)
    for number in (3, 1, 2):
        moments.add(float(number), _ref(number))
    assert moments.first == 1.0
    assert moments.take(2.0) == [(1.0, _ref(1)), (2.0, _ref(2))]
    assert moments.take(2.0) == []
    assert moments.first == 3.0


def test_what_could_not_be_dealt_with_is_due_again() -> None:
    moments = Moments(lambda ref: True)
    moments.add(1.0, _ref(1))
    moments.put_back(moments.take(1.0))
    assert moments.take(1.0) == [(1.0, _ref(1))]
    assert moments.first is None


def test_those_that_matter_no_more_are_let_go_of_as_they_pile_up() -> None:
    moments = Moments(lambda ref: ref.fence % 100 == 0)
    for number in range(5 * LEAST):
        moments.add(float(number), _ref(number))
        assert len(moments) <= LEAST + 1
    kept = [ref.fence for _, ref in moments.take(4 * LEAST)]
    assert set(range(0, 4 * LEAST, 100)) <= set(kept)


def test_of_two_moments_of_one_attempt_only_the_earlier_counts() -> None:
    moments = Moments(lambda ref: True)
    moments.add(5.0, _ref(1))
    moments.add(7.0, _ref(1))
    assert len(moments) == 1
    moments.add(3.0, _ref(1))
    assert moments.take(10.0) == [(3.0, _ref(1))]
    moments.add(7.0, _ref(1))
    assert moments.take(10.0) == [(7.0, _ref(1))]


def test_moments_of_one_attempt_do_not_pile_up() -> None:
    moments = Moments(lambda ref: True)
    for number in range(5 * LEAST):
        moments.add(float(-number), _ref(1))
        assert len(moments) <= LEAST + 1
