"""Leases as the agent counts them: from what it sent and was acknowledged, and shorter than the server's."""

from __future__ import annotations

import pytest

from nodelink.task import (
    AttemptRef,
    Declined,
    Execution,
    Finished,
    Gone,
    LogStream,
    Outcome,
    Reason,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    Verdict,
    VerdictAction,
)
from nodelink_agent.core.agent import LAPSE_GRACE_MS, AgentCore
from nodelink_agent.core.leases import REMEMBERED_BEATS, Leases, own_lease_ms
from nodelink_agent.core.records import Remembered
from nodelink_agent.core.work import Extension, Stop, Work

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
B = AttemptRef("b", 1, 11)
LEASE_MS = 100_000
OWN = 90.0


def request(
    ref: AttemptRef = A, execution: Execution = Execution.REPLAYABLE, *, basis: int = 0, lease_ms: int | None = LEASE_MS
) -> TaskRequest:
    spec = TaskSpec(type="written")
    return TaskRequest(ref=ref, spec=spec, payload=b"", execution=execution, lease_ms=lease_ms, basis=basis)


def make_core() -> AgentCore:
    """A core whose hello was sent at 0."""
    core = AgentCore(slots=4, wake=lambda: None, places={"written": "spawner"})
    core.hello_held(now=0.0)
    core.welcomed([], response_credit=1_000, log_credit=1_000)
    core.outgoing(now=0.0)
    return core


def running(*requests: TaskRequest) -> AgentCore:
    core = make_core()
    core.received(requests, now=1.0)
    assert core.written(core.recorded, now=1.0).start == list(requests)
    return core


def only_response(core: AgentCore) -> TaskResponse:
    core.written(core.recorded, now=0.0)
    (response,) = core.outgoing(now=0.0).responses
    return response


@pytest.mark.parametrize(
    "lease_ms, own",
    [(600_000, 570_000), (100_000, 90_000), (30_000, 20_000), (20_000, 10_000), (19_000, 9_500), (0, 0)],
)
def test_the_agents_own_lease_is_shorter(lease_ms: int, own: int) -> None:
    assert own_lease_ms(lease_ms) == own


def test_what_is_replayable_is_stopped_when_its_lease_is_over_and_once() -> None:
    core = running(request())
    assert core.next_lapse == OWN
    assert core.lapsed(now=OWN) == Work()
    assert core.lapsed(now=OWN + 0.1) == Work(stop=[Stop(A, LAPSE_GRACE_MS, Reason.LEASE_EXPIRED)])
    assert core.lapsed(now=OWN + 99) == Work()
    assert core.next_lapse is None


@pytest.mark.parametrize("execution", [Execution.ONCE, Execution.EXCLUSIVE])
def test_what_is_not_replayable_is_never_stopped(execution: Execution) -> None:
    core = running(request(execution=execution))
    assert core.next_lapse is None
    assert core.lapsed(now=1e9) == Work()


def test_a_lease_lasts_from_the_sending_of_the_acknowledged_heartbeat() -> None:
    core = running(request())
    core.heartbeat(now=10.0)
    core.heartbeat(now=20.0)
    assert core.heartbeat_acked(1) == Work(extend=[Extension(A, 10 + OWN)])
    assert core.lapsed(now=10 + OWN) == Work()
    assert core.lapsed(now=10 + OWN + 0.1).stop


def test_a_late_acknowledgement_of_an_old_heartbeat_takes_nothing_back() -> None:
    core = running(request())
    core.heartbeat(now=10.0)
    core.heartbeat(now=20.0)
    core.heartbeat_acked(2)
    assert core.heartbeat_acked(1) == Work()
    assert core.lapsed(now=20 + OWN) == Work()


def test_a_heartbeat_that_did_not_list_the_attempt_does_not_extend_its_lease() -> None:
    core = make_core()
    core.heartbeat(now=50.0)
    core.received([request()], now=51.0)
    core.written(core.recorded, now=51.0)
    assert core.heartbeat_acked(1) == Work()
    assert core.lapsed(now=OWN + 0.1).stop


def test_an_acknowledgement_of_nothing_extends_nothing() -> None:
    core = running(request())
    assert core.heartbeat_acked(7) == Work()


def test_the_lease_of_what_does_not_count_any_more_is_not_extended_but_stopped() -> None:
    core = running(request(), request(B))
    core.heartbeat(now=10.0)
    work = core.heartbeat_acked(1, [A])
    assert work.stop == [Stop(A, 10_000, Reason.SUPERSEDED)]
    core.ended([TaskResponse(A, Finished(outcome=Outcome.CANCELLED, reason=Reason.SUPERSEDED))], now=11.0)
    assert only_response(core).ref == A


def test_the_welcome_acknowledges_the_hello() -> None:
    core = running(request())
    core.hello_held(now=40.0)
    work = core.welcomed([Verdict(A, VerdictAction.KEEP)], response_credit=1, log_credit=1)
    assert work.extend == [Extension(A, 40 + OWN)]


def test_a_hello_without_a_welcome_extends_nothing() -> None:
    core = running(request())
    core.hello_held(now=40.0)
    assert core.lapsed(now=OWN + 0.1).stop


def test_a_lease_counts_from_the_heartbeat_that_it_names() -> None:
    core = make_core()
    core.heartbeat(now=30.0)
    core.received([request(basis=1)], now=31.0)
    assert core.next_lapse == 30 + OWN


@pytest.mark.parametrize("now, basis", [(OWN + 0.1, 0), (1.0, 5)])
def test_a_grant_that_comes_too_late_is_declined_and_not_written_down(now: float, basis: int) -> None:
    core = make_core()
    assert core.received([request(basis=basis)], now=now) == Work()
    update = only_response(core).update
    assert isinstance(update, Declined)
    assert update.just_this


def test_a_lease_that_is_over_when_the_record_is_durable_is_too_late() -> None:
    core = make_core()
    core.received([request(execution=Execution.ONCE)], now=1.0)
    assert core.written(core.recorded, now=OWN + 0.1).start == []
    assert isinstance(only_response(core).update, Declined)


def test_what_waits_for_its_record_is_declined_when_its_lease_is_over() -> None:
    core = make_core()
    core.received([request(execution=Execution.ONCE)], now=1.0)
    assert core.lapsed(now=OWN + 0.1).stop == []
    assert core.written(core.recorded, now=OWN + 0.1).start == []
    assert isinstance(only_response(core).update, Declined)


def test_the_time_in_which_a_grant_may_begin_is_not_put_off() -> None:
    core = make_core()
    core.received([request(execution=Execution.ONCE)], now=1.0)
    core.heartbeat(now=20.0)
    assert core.heartbeat_acked(1) == Work()
    assert core.next_lapse == OWN


def test_a_grant_of_a_later_session_counts_from_the_hello_of_that_session() -> None:
    core = running(request())
    core.hello_held(now=40.0)
    core.welcomed([], response_credit=1, log_credit=1)
    core.outgoing(now=40.0)
    core.received([request(B)], now=40.0)
    assert core.lease_until(B) == 40.0 + OWN


def test_what_waits_for_its_predecessor_may_be_too_late() -> None:
    core = running(request())
    core.received([request(LATER_A, Execution.ONCE)], now=2.0)
    work = core.ended([TaskResponse(A, Finished(outcome=Outcome.CANCELLED))], now=OWN + 0.1)
    assert (work.start, work.forget) == ([], [A])
    assert isinstance(only_response(core).update, Declined)


def test_what_was_stopped_for_its_lease_is_told_as_gone() -> None:
    core = running(request())
    core.lapsed(now=OWN + 0.1)
    stopped = Finished(outcome=Outcome.CANCELLED, reason=Reason.LEASE_EXPIRED, log_totals={LogStream.STDOUT: 5})
    core.ended([TaskResponse(A, stopped)], now=OWN + 1)
    assert only_response(core).update == Gone(message="its lease was over")


def test_what_completed_by_itself_stands_although_its_lease_was_over() -> None:
    core = running(request())
    core.lapsed(now=OWN + 0.1)
    done = Finished(outcome=Outcome.COMPLETED)
    core.ended([TaskResponse(A, done)], now=OWN + 1)
    assert only_response(core).update == done


def test_without_a_lease_nothing_lapses() -> None:
    core = running(request(lease_ms=None))
    assert core.next_lapse is None
    assert core.lease_until(A) is None
    assert core.lapsed(now=1e9) == Work()


def test_a_restored_attempt_has_a_lease_from_the_first_acknowledgement_on() -> None:
    core = AgentCore(slots=4, wake=lambda: None, places={})
    core.restore([Remembered(A, Execution.REPLAYABLE, LEASE_MS), Remembered(B, Execution.ONCE, LEASE_MS)])
    assert core.lapsed(now=1e6) == Work()
    core.hello_held(now=1e6)
    assert core.welcomed([], response_credit=1, log_credit=1).extend == [Extension(A, 1e6 + OWN)]
    assert core.lease_until(A) == 1e6 + OWN


def test_of_the_heartbeats_a_bounded_number_is_remembered() -> None:
    leases = Leases()
    leases.new_session(0.0)
    for number in range(REMEMBERED_BEATS):
        leases.sent(float(number))
    assert leases.end_of(LEASE_MS, 0) < 0
    assert leases.end_of(LEASE_MS, 1) == OWN
