"""How attempts stand with their agent."""

from __future__ import annotations

from nodelink.task import AttemptRef, HeldAttempt, HeldState, TaskRequest, TaskSpec
from nodelink_agent.core.attempts import Attempts

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
LATEST_A = AttemptRef("a", 3, 30)


def request(ref: AttemptRef) -> TaskRequest:
    return TaskRequest(ref=ref, spec=TaskSpec(type="echo"), payload=b"")


def test_an_attempt_runs_from_its_receipt() -> None:
    attempts = Attempts()
    assert attempts.add(request(A))
    assert attempts.held() == [HeldAttempt(A, HeldState.RUNNING)]
    assert attempts.running() == [A]
    assert attempts.active == 1


def test_an_end_is_taken_once() -> None:
    attempts = Attempts()
    attempts.add(request(A))
    assert attempts.end(A)
    assert not attempts.end(A)
    assert not attempts.end(LATER_A)
    assert (attempts.state(A), attempts.active, attempts.running()) == (HeldState.ENDED, 0, [])


def test_a_stop_is_given_once_and_only_to_what_is_live() -> None:
    attempts = Attempts()
    attempts.add(request(A))
    assert attempts.ask_stop(A) is HeldState.RUNNING
    assert attempts.ask_stop(A) is None
    assert attempts.ask_stop(LATER_A) is None
    attempts.end(A)
    assert attempts.ask_stop(A) is None


def test_a_successor_waits_until_the_dying_attempt_is_gone() -> None:
    attempts = Attempts()
    attempts.add(request(A))
    assert attempts.drop(A)
    assert not attempts.add(request(LATER_A))
    assert attempts.held() == [HeldAttempt(LATER_A, HeldState.WAITING)]
    assert attempts.active == 2
    assert not attempts.gone(LATER_A)
    assert attempts.gone(A)
    assert attempts.begin_waiting("a") == [request(LATER_A)]
    assert attempts.begin_waiting("a") == []
    assert (attempts.state(LATER_A), attempts.active) == (HeldState.RUNNING, 1)


def test_of_several_successors_only_the_newest_begins() -> None:
    attempts = Attempts()
    attempts.add(request(A))
    attempts.drop(A)
    attempts.add(request(LATER_A))
    assert not attempts.drop(LATER_A)
    attempts.add(request(LATEST_A))
    attempts.gone(A)
    assert attempts.begin_waiting("a") == [request(LATEST_A)]


def test_a_dropped_attempt_leaves_nothing_behind() -> None:
    attempts = Attempts()
    attempts.add(request(A))
    attempts.end(A)
    attempts.linger(A)
    assert attempts.lingering == 1
    assert not attempts.drop(A)
    assert (attempts.lingering, attempts.active, attempts.is_empty, attempts.newest("a")) == (0, 0, True, None)
