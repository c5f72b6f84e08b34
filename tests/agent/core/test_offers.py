"""Offers: accepted, granted or withdrawn, and never begun without a grant."""

from __future__ import annotations

import pytest

from nodelink.task import Accepted as OfferAccepted
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
    HeldAttempt,
    HeldState,
    ResultAck,
    StartCommand,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    Verdict,
    VerdictAction,
)
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.work import Work

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
B = AttemptRef("b", 1, 11)
ACCEPTED = TaskResponse(A, OfferAccepted())


def offer(ref: AttemptRef = A) -> TaskRequest:
    return TaskRequest(ref=ref, spec=TaskSpec(type="inline"), payload=b"", execution=Execution.EXCLUSIVE, granted=False)


def make_core(slots: int = 2) -> AgentCore:
    core = AgentCore(slots=slots, wake=lambda: None, places={})
    new_session(core)
    return core


def new_session(core: AgentCore, *verdicts: Verdict, now: float = 0.0) -> Work:
    core.hello_held(now=now)
    work = core.welcomed(verdicts, response_credit=1_000, log_credit=1_000)
    core.outgoing(now=now)
    return work


def offered(slots: int = 2) -> AgentCore:
    core = make_core(slots)
    assert core.received([offer()], now=1.0) == Work()
    assert core.outgoing(now=1.0).responses == [ACCEPTED]
    return core


def begun(core: AgentCore, *commands: StartCommand, now: float = 1.0) -> list[TaskRequest]:
    """What begins when offers are granted, once that is written down."""
    work = core.start(commands, now=now)
    return work.start + core.written(core.recorded, now=now).start


def declined(core: AgentCore, ref: AttemptRef = A) -> Declined:
    ((told, update),) = core.outgoing(now=1.0).responses
    assert told == ref
    assert isinstance(update, Declined)
    return update


def test_an_offer_takes_a_slot_and_is_accepted_once() -> None:
    core = offered(slots=2)
    assert core.task_credit() == 2
    assert core.heartbeat(now=1.0).refs == [A]
    assert core.outgoing(now=1.0).responses == []


def test_an_acceptance_goes_before_results() -> None:
    core = make_core()
    core.received(
        [TaskRequest(ref=B, spec=TaskSpec(type="inline"), payload=b"", execution=Execution.REPLAYABLE), offer()],
        now=1.0,
    )
    core.ended([TaskResponse(B, Declined())], now=1.0)
    assert [response.ref for response in core.outgoing(now=1.0).responses] == [A, B]


def test_an_offer_begins_when_it_is_granted_and_only_once() -> None:
    core = offered()
    assert begun(core, StartCommand(A, 30_000, 0), StartCommand(B)) == [offer()]
    assert begun(core, StartCommand(A, 30_000, 0)) == []


def test_an_offer_that_is_repeated_is_accepted_again() -> None:
    core = offered()
    core.received([offer()], now=1.0)
    assert core.outgoing(now=1.0).responses == [ACCEPTED]
    assert begun(core, StartCommand(A)) == [offer()]
    core.received([], now=1.0)
    assert core.outgoing(now=1.0).responses == []


def test_a_repeated_offer_of_what_runs_changes_nothing() -> None:
    core = offered()
    core.outgoing(now=1.0)
    core.start([StartCommand(A)], now=1.0)
    core.outgoing(now=1.0)
    core.received([offer()], now=1.0)
    assert core.outgoing(now=1.0).responses == []


@pytest.mark.parametrize(
    "now, basis, starts", [(15.0, 0, True), (15.1, 0, False), (19.0, 1, True), (19.1, 1, False), (1.0, 2, False)]
)
def test_a_grant_whose_lease_is_over_is_declined(now: float, basis: int, starts: bool) -> None:
    core = offered()
    assert core.heartbeat(now=4.0).number == 1
    assert begun(core, StartCommand(A, 25_000, basis), now=now) == ([offer()] if starts else [])
    if not starts:
        assert declined(core).just_this


def test_a_cancelled_offer_is_declined_and_a_late_grant_does_nothing() -> None:
    core = offered()
    assert core.cancel([CancelCommand(A)]) == Work()
    assert declined(core).just_this
    assert core.start([StartCommand(A)], now=1.0) == Work()
    core.result_acked([ResultAck(A, AckDisposition.COMMITTED)])
    assert core.is_idle


def test_an_offer_that_was_cancelled_at_once_is_not_accepted() -> None:
    core = make_core()
    core.received([offer()], now=1.0)
    core.cancel([CancelCommand(A)])
    declined(core)


def test_a_superseded_offer_is_declined() -> None:
    core = offered()
    core.received([offer(LATER_A)], now=1.0)
    updates = {response.ref: type(response.update) for response in core.outgoing(now=1.0).responses}
    assert updates == {LATER_A: OfferAccepted, A: Declined}


def test_a_draining_agent_declines_the_offers_that_it_had_accepted() -> None:
    core = offered()
    assert core.drain() == Work()
    assert declined(core).just_this
    core.received([offer(B)], now=1.0)
    assert declined(core, B).just_this


def test_an_offer_that_the_server_does_not_know_any_more_is_declined() -> None:
    core = offered()
    number = core.heartbeat(now=1.0).number
    assert core.heartbeat_acked(number, [A]) == Work()
    assert declined(core).just_this


def test_an_accepted_offer_is_kept_over_sessions_until_it_is_granted() -> None:
    core = offered()
    assert core.hello_held(now=20.0) == [HeldAttempt(A, HeldState.ACCEPTED)]
    core.welcomed([Verdict(A, VerdictAction.KEEP)], response_credit=1_000, log_credit=0)
    assert core.outgoing(now=20.0).responses == []
    assert begun(core, StartCommand(A, 30_000, 0), now=21.0) == [offer()]


def test_an_acceptance_that_was_not_sent_is_told_by_the_next_hello_instead() -> None:
    core = make_core()
    core.received([offer()], now=1.0)
    assert core.hello_held(now=2.0) == [HeldAttempt(A, HeldState.ACCEPTED)]
    core.welcomed([], response_credit=1_000, log_credit=0)
    assert core.outgoing(now=2.0).responses == []


def test_an_accepted_offer_is_forgotten_as_the_server_says() -> None:
    core = offered()
    assert new_session(core, Verdict(A, VerdictAction.FORGET)) == Work(forget=[A])
    assert core.is_idle
    assert core.start([StartCommand(A)], now=1.0) == Work()


def test_an_accepted_offer_that_is_to_be_stopped_is_declined() -> None:
    core = offered()
    core.hello_held(now=1.0)
    core.welcomed([Verdict(A, VerdictAction.STOP)], response_credit=1_000, log_credit=0)
    assert declined(core).just_this


def test_a_granted_offer_waits_for_its_dying_predecessor() -> None:
    core = make_core()
    older = TaskRequest(ref=A, spec=TaskSpec(type="inline"), payload=b"", execution=Execution.REPLAYABLE)
    core.received([older], now=1.0)
    core.received([offer(LATER_A)], now=1.0)
    assert core.start([StartCommand(LATER_A, 30_000, 0)], now=1.0) == Work()
    assert core.ended([TaskResponse(A, Declined())], now=2.0).forget == [A]
    assert core.written(core.recorded, now=2.0).start == [offer(LATER_A)]
