"""Other limits for attempts: those that the server gives, and those that work gives itself."""

from __future__ import annotations

from nodelink.task import (
    AttemptRef,
    Execution,
    ExtendCommand,
    Extended,
    Finished,
    Outcome,
    StartCommand,
    TaskRequest,
    TaskResponse,
    TaskSpec,
)
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.wishes import Wish
from nodelink_agent.core.work import NewLimits, Work

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
UNKNOWN = AttemptRef("u", 1, 11)


def request(ref: AttemptRef = A, *, granted: bool = True) -> TaskRequest:
    spec = TaskSpec(type="command")
    return TaskRequest(ref=ref, spec=spec, payload=b"", execution=Execution.ONCE, granted=granted)


def new_session(core: AgentCore) -> None:
    core.hello_held(now=0.0)
    core.welcomed([], response_credit=1_000, log_credit=1_000)
    core.outgoing(now=0.0)


def make_core() -> AgentCore:
    core = AgentCore(slots=2, wake=lambda: None, places={"command": "spawner"})
    new_session(core)
    return core


def running() -> AgentCore:
    core = make_core()
    core.received([request()], now=0.0)
    core.written(1, now=0.0)
    return core


def extend(core: AgentCore, *commands: ExtendCommand, now: float = 100.0) -> list[NewLimits]:
    return core.extend(commands, now=now).limits


def told(core: AgentCore, *, now: float = 0.0) -> list[Extended]:
    return [one.update for one in core.outgoing(now=now).responses if isinstance(one.update, Extended)]


# what the server gives


def test_what_runs_has_other_limits_from_when_they_come() -> None:
    command = ExtendCommand(A, 1, timeout_ms=5_000, heartbeat_timeout_ms=2_500)
    assert extend(running(), command) == [NewLimits(A, 1, 105.0, 2.5)]
    assert extend(running(), ExtendCommand(A, 1, heartbeat_timeout_ms=2_500)) == [NewLimits(A, 1, None, 2.5)]


def test_what_came_before_changes_nothing() -> None:
    core = running()
    extend(core, ExtendCommand(A, 2, timeout_ms=5_000))
    assert extend(core, ExtendCommand(A, 2, timeout_ms=1), ExtendCommand(A, 1, timeout_ms=1)) == []
    assert extend(core, ExtendCommand(A, 3, timeout_ms=1)) == [NewLimits(A, 3, 100.001, None)]


def test_the_limits_of_what_is_not_here_or_has_ended_change_nothing() -> None:
    core = running()
    assert extend(core, ExtendCommand(UNKNOWN, 1, timeout_ms=1)) == []
    core.ended([TaskResponse(A, Finished(outcome=Outcome.COMPLETED))], now=0.0)
    assert extend(core, ExtendCommand(A, 1, timeout_ms=1)) == []


def test_what_waits_for_its_record_is_told_when_it_starts() -> None:
    core = make_core()
    core.received([request()], now=0.0)
    assert extend(core, ExtendCommand(A, 1, timeout_ms=5_000), now=10.0) == []
    assert extend(core, ExtendCommand(A, 2, heartbeat_timeout_ms=1_000), now=20.0) == []
    work = core.written(1, now=30.0)
    assert work.limits == [NewLimits(A, 2, 15.0, 1.0)]
    assert [one.ref for one in work.start] == [A]


def test_an_offer_takes_its_limits_over_its_grant() -> None:
    core = make_core()
    core.received([request(granted=False)], now=0.0)
    assert extend(core, ExtendCommand(A, 1, timeout_ms=5_000), now=10.0) == []
    assert core.start([StartCommand(A)], now=11.0).limits == []
    assert core.written(1, now=12.0).limits == [NewLimits(A, 1, 15.0, None)]


def test_what_waits_for_its_predecessor_is_told_when_it_starts() -> None:
    core = running()
    core.received([request(LATER_A)], now=0.0)
    assert extend(core, ExtendCommand(LATER_A, 1, timeout_ms=5_000), now=10.0) == []
    core.ended([TaskResponse(A, Finished(outcome=Outcome.CANCELLED))], now=20.0)
    work = Work()
    for number in range(2, core.recorded + 1):
        work = core.written(number, now=20.0)
    assert work.limits == [NewLimits(LATER_A, 1, 15.0, None)]


# what work gives itself


def test_what_work_gives_itself_is_told_as_time_that_is_left() -> None:
    core = running()
    core.extended(A, Wish(run_until=110.0, total_until=200.0, heartbeat_seconds=2.5))
    assert told(core, now=100.0) == [
        Extended(number=1, timeout_ms=10_000, total_timeout_ms=100_000, heartbeat_timeout_ms=2_500)
    ]
    assert told(core, now=100.0) == []


def test_it_is_told_in_every_session_until_it_is_heard() -> None:
    core = running()
    core.extended(A, Wish(run_until=110.0))
    assert told(core, now=100.0) == [Extended(number=1, timeout_ms=10_000)]
    new_session(core)
    core.extended(A, Wish(heartbeat_seconds=2.5))
    assert told(core, now=104.0) == [Extended(number=2, timeout_ms=6_000, heartbeat_timeout_ms=2_500)]
    extend(core, ExtendCommand(A, 1, heard=1))
    core.hello_held(now=0.0)
    core.welcomed([], response_credit=1_000, log_credit=1_000)
    assert told(core, now=120.0) == [Extended(number=2, timeout_ms=1, heartbeat_timeout_ms=2_500)]
    extend(core, ExtendCommand(A, 2, heard=2))
    core.hello_held(now=0.0)
    core.welcomed([], response_credit=1_000, log_credit=1_000)
    assert told(core) == []
    core.extended(A, Wish(heartbeat_seconds=5.0))
    assert told(core) == [Extended(number=3, heartbeat_timeout_ms=5_000)]


def test_what_others_give_says_nothing_of_what_was_heard() -> None:
    core = running()
    core.extended(A, Wish(run_until=110.0))
    extend(core, ExtendCommand(A, 1, timeout_ms=1))
    assert told(core, now=100.0) == [Extended(number=1, timeout_ms=10_000)]


def test_nothing_of_it_is_told_when_the_attempt_has_ended() -> None:
    core = running()
    core.extended(A, Wish(run_until=110.0))
    assert not core.is_told
    core.ended([TaskResponse(A, Finished(outcome=Outcome.COMPLETED))], now=0.0)
    core.written(2, now=0.0)
    assert told(core) == []
    core.extended(A, Wish(run_until=110.0))
    core.extended(UNKNOWN, Wish(run_until=110.0))
    assert told(core) == []


def test_a_frame_has_room_for_only_so_many() -> None:
    core = running()
    core.extended(A, Wish(run_until=110.0))
    assert core._outbox.take(now=0.0, max_items=0, max_bytes=1_000)[0] == []
    assert len(told(core)) == 1
