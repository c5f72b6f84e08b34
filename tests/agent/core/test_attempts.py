"""How attempts stand with their agent."""

from __future__ import annotations

from nodelink.task import AttemptRef, HeldAttempt, HeldState, TaskRequest, TaskSpec
from nodelink_agent.core.attempts import Attempts

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)


def request(ref: AttemptRef) -> TaskRequest:
    return TaskRequest(ref=ref, spec=TaskSpec(type="echo"), payload=b"")


def test_an_attempt_runs_from_its_receipt() -> None:
    attempts = Attempts()
    attempts.add(A)
    assert attempts.held() == [HeldAttempt(A, HeldState.RUNNING)]
    assert attempts.told() == [A]
    assert attempts.active == 1


def test_an_end_is_taken_once_and_told_until_it_is_acknowledged() -> None:
    attempts = Attempts()
    attempts.add(A)
    assert attempts.end(A)
    assert not attempts.end(A)
    assert not attempts.end(LATER_A)
    assert (attempts.state(A), attempts.active, attempts.told()) == (HeldState.ENDED, 0, [A])
    attempts.linger(A)
    assert attempts.told() == []


def test_a_stop_is_given_once_and_only_to_what_is_live() -> None:
    attempts = Attempts()
    attempts.add(A)
    assert attempts.ask_stop(A) is HeldState.RUNNING
    assert attempts.ask_stop(A) is None
    assert attempts.ask_stop(LATER_A) is None
    attempts.end(A)
    assert attempts.ask_stop(A) is None


def test_a_task_is_blocked_until_its_dying_attempt_is_gone() -> None:
    attempts = Attempts()
    attempts.add(A)
    assert attempts.drop(A)
    assert attempts.dying["a"].ref == A
    attempts.add(LATER_A)
    assert attempts.active == 2
    assert not attempts.gone(LATER_A)
    assert attempts.gone(A)
    assert not attempts.dying
    assert attempts.active == 1


def test_what_waits_is_begun_once() -> None:
    attempts = Attempts()
    attempts.add(A)
    attempts.wait(request(A), HeldState.WAITING)
    assert attempts.held() == [HeldAttempt(A, HeldState.WAITING)]
    assert attempts.take_waiting(A, HeldState.ACCEPTED) is None
    assert attempts.take_waiting(A, HeldState.WAITING) == request(A)
    assert attempts.take_waiting(A, HeldState.WAITING) is None
    assert attempts.state(A) is HeldState.RUNNING


def test_what_never_ran_does_not_die_when_it_is_dropped() -> None:
    attempts = Attempts()
    attempts.add(A)
    attempts.wait(request(A), HeldState.ACCEPTED)
    assert attempts.accepted() == [A]
    assert not attempts.drop(A)
    assert not attempts.dying
    assert attempts.active == 0


def test_the_greatest_fence_is_the_newest_whatever_came_last() -> None:
    attempts = Attempts()
    attempts.add(LATER_A)
    attempts.add(A)
    assert attempts.newest("a") == LATER_A


def test_a_dropped_attempt_leaves_nothing_behind() -> None:
    attempts = Attempts()
    attempts.add(A)
    attempts.end(A)
    attempts.linger(A)
    assert attempts.lingering == 1
    assert not attempts.drop(A)
    assert (attempts.lingering, attempts.active, attempts.is_empty, attempts.newest("a")) == (0, 0, True, None)
