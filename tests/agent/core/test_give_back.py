"""A server that wants an agent empty: what has not begun is given back, what runs goes on."""

from __future__ import annotations

import pytest

from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
    Finished,
    HeldState,
    Reason,
    StartCommand,
    TaskRequest,
    TaskSpec,
)
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.work import Stop, Work

OFFERED = AttemptRef("offered", 1, 10)
WAITING = AttemptRef("waiting", 1, 11)
RUNNING = AttemptRef("running", 1, 12)
LATER = AttemptRef("later", 1, 13)


def request(ref: AttemptRef, execution: Execution = Execution.ONCE, *, granted: bool = True) -> TaskRequest:
    spec = TaskSpec(type="inline")
    return TaskRequest(ref=ref, spec=spec, payload=b"", execution=execution, granted=granted)


def busy_core() -> AgentCore:
    """One attempt of each kind: offered and accepted, granted and not written down yet, under way."""
    core = AgentCore(slots=4, wake=lambda: None, places={})
    core.hello_held(now=0.0)
    core.welcomed([], response_credit=1_000, log_credit=1_000)
    core.outgoing(now=0.0)
    core.received([request(OFFERED, granted=False), request(RUNNING, Execution.REPLAYABLE)], now=1.0)
    core.received([request(WAITING)], now=1.0)
    core.outgoing(now=1.0)
    return core


def test_what_has_not_begun_is_declined_and_what_runs_goes_on() -> None:
    core = busy_core()

    work = core.give_back()

    assert work.stop == []
    told = {response.ref: response.update for response in core.outgoing(now=1.0).responses}
    assert set(told) == {OFFERED}  # the end of what was about to begin is written down before it is told
    core.written(core.recorded, now=1.0)
    told.update({response.ref: response.update for response in core.outgoing(now=1.0).responses})
    assert set(told) == {OFFERED, WAITING}
    assert all(isinstance(update, Declined) and update.just_this for update in told.values())
    assert {attempt.ref: attempt.state for attempt in core.hello_held(now=2.0)}[RUNNING] is HeldState.RUNNING


def test_what_was_given_back_never_begins() -> None:
    core = busy_core()
    core.give_back()

    assert core.written(core.recorded, now=1.0).start == []
    assert core.start([StartCommand(OFFERED)], now=1.0) == Work()


def test_what_comes_later_is_taken() -> None:
    core = busy_core()
    core.give_back()

    core.received([request(LATER, Execution.REPLAYABLE)], now=2.0)

    assert {attempt.ref: attempt.state for attempt in core.hello_held(now=2.0)}[LATER] is HeldState.RUNNING


@pytest.mark.parametrize("reason, update", [(Reason.DRAINED, Declined), (Reason.CANCELLED_BY_CALLER, Finished)])
def test_a_stop_because_of_a_drain_gives_back_what_has_not_begun(reason: Reason, update: type) -> None:
    core = busy_core()

    core.cancel([CancelCommand(WAITING, 1_000, reason), CancelCommand(RUNNING, 1_000, reason)])
    core.written(core.recorded, now=1.0)

    told = {response.ref: response.update for response in core.outgoing(now=1.0).responses}
    assert isinstance(told[WAITING], update)


def test_a_stop_because_of_a_drain_stops_what_runs() -> None:
    core = busy_core()
    assert core.cancel([CancelCommand(RUNNING, 1_000, Reason.DRAINED)]).stop == [Stop(RUNNING, 1_000, Reason.DRAINED)]
