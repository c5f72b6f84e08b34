"""How long a command may run."""

from __future__ import annotations

from nodelink_agent.limits import (
    HEARTBEAT_TIMEOUT,
    LEASE_EXPIRED,
    LEASE_GRACE,
    RUN_TIMEOUT,
    TIMEOUT_GRACE,
    Limits,
    Passed,
    Silence,
    silence_message,
)

TIMED_OUT = Passed(RUN_TIMEOUT, TIMEOUT_GRACE)
SILENT = Passed(HEARTBEAT_TIMEOUT, TIMEOUT_GRACE)
EXPIRED = Passed(LEASE_EXPIRED, LEASE_GRACE)


def test_without_limits_nothing_passes() -> None:
    limits = Limits(100, None, None)
    assert (limits.next, limits.passed(1e12)) == (float("inf"), None)


def test_a_timeout_counts_from_the_start_and_passes_once() -> None:
    limits = Limits(100, 5, None)
    assert (limits.next, limits.passed(104.9)) == (105, None)
    assert limits.passed(105) == TIMED_OUT
    assert (limits.next, limits.passed(200)) == (float("inf"), None)


def test_a_lease_passes_when_it_was_not_extended() -> None:
    limits = Limits(100, None, 110)
    limits.extend(120)
    assert limits.passed(119) is None
    assert limits.passed(120) == EXPIRED


def test_a_lease_is_never_shortened() -> None:
    limits = Limits(100, None, 110)
    limits.extend(105)
    assert limits.next == 110


def test_who_needs_no_lease_gets_none() -> None:
    limits = Limits(100, None, None)
    limits.extend(105)
    assert limits.next == float("inf")


def test_of_two_that_have_passed_the_earlier_one_is_the_reason() -> None:
    assert Limits(100, 5, 110).passed(200) == TIMED_OUT
    assert Limits(100, 15, 110).passed(200) == EXPIRED


def test_a_run_may_be_given_another_end() -> None:
    limits = Limits(100, 5, None)
    limits.run(120)
    assert limits.passed(119.9) is None
    limits.run(110)
    assert limits.passed(119.9) == TIMED_OUT
    unlimited = Limits(100, None, None)
    unlimited.run(105)
    assert unlimited.passed(105) == TIMED_OUT


def test_silence_counts_from_the_last_sign_and_passes_once() -> None:
    silence = Silence(100, 5)
    silence.sign(103)
    assert (silence.until, silence.passed(107.9)) == (108, None)
    assert silence.passed(108) == SILENT
    assert (silence.until, silence.passed(200)) == (float("inf"), None)


def test_without_a_limit_silence_may_last_for_ever() -> None:
    silence = Silence(100)
    assert (silence.until, silence.passed(1e12)) == (float("inf"), None)


def test_silence_may_be_allowed_for_longer_or_less_from_then_on() -> None:
    silence = Silence(100, 5)
    silence.allow(104, 10)
    assert silence.passed(113.9) is None
    silence.allow(113.9, 0.1)
    assert silence.passed(114) == SILENT
    assert silence_message(0.1) == "no sign of life came for 0.1 s"
