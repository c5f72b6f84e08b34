"""That work has begun is said with its end if that comes soon, else after a moment, and at once where more is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Execution,
    Extended,
    Finished,
    LogChunk,
    LogStream,
    Outcome,
    Progress,
    Started,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    Update,
)
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.starts import MOMENT_SECONDS
from nodelink_agent.core.wishes import Wish

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
B = AttemptRef("b", 1, 11)
DONE = Finished(outcome=Outcome.COMPLETED)
NOTHING: tuple[list[object], list[object], int] = ([], [], 0)


def request(ref: AttemptRef, type: str = "echo") -> TaskRequest:
    execution = Execution.REPLAYABLE if type == "echo" else Execution.ONCE
    return TaskRequest(ref=ref, spec=TaskSpec(type=type), payload=b"", execution=execution)


def new_session(core: AgentCore, *, response_credit: int = 1_000) -> None:
    core.hello_held(now=0.0)
    core.welcomed([], response_credit=response_credit, log_credit=1_000)
    core.outgoing(now=0.0)


def running(*refs: AttemptRef, type: str = "echo", response_credit: int = 1_000) -> AgentCore:
    """An agent with attempts that run, and have not said so."""
    core = AgentCore(slots=5, wake=lambda: None, places={"command": "spawner"})
    new_session(core, response_credit=response_credit)
    core.received([request(ref, type) for ref in refs], now=0.0)
    core.written(core.recorded, now=0.0)
    return core


def begun(*refs: AttemptRef, response_credit: int = 1_000) -> AgentCore:
    """An agent whose work has begun at 0.0."""
    core = running(*refs, response_credit=response_credit)
    for ref in refs:
        core.started(ref, at=0.0, containment="subreaper")
    return core


def started(ref: AttemptRef, ago_ms: int = 0) -> TaskResponse:
    return TaskResponse(ref, Started(ago_ms=ago_ms, containment="subreaper"))


def end(core: AgentCore, ref: AttemptRef, *, now: float = 0.0) -> None:
    core.ended([TaskResponse(ref, DONE)], now=now)


def said(core: AgentCore, *, now: float = 0.0) -> list[TaskResponse]:
    return core.outgoing(now=now).responses


def test_short_work_is_told_of_in_one_frame() -> None:
    core = begun(A)
    assert core.outgoing(now=0.0) == NOTHING
    assert core.outgoing(now=0.04) == NOTHING
    end(core, A, now=0.04)
    assert said(core, now=0.04) == [started(A, ago_ms=40), TaskResponse(A, DONE)]
    assert said(core, now=1.0) == []
    assert core.speak_by is None


def test_what_waits_takes_no_credit() -> None:
    core = begun(A, response_credit=1)
    assert core.outgoing(now=0.0) == NOTHING
    end(core, A)
    assert said(core) == [started(A), TaskResponse(A, DONE)]


def test_long_work_is_told_of_after_a_moment() -> None:
    core = begun(A)
    assert said(core, now=MOMENT_SECONDS - 0.001) == []
    assert core.speak_by == MOMENT_SECONDS <= 0.05
    assert said(core, now=MOMENT_SECONDS) == [started(A, ago_ms=50)]
    assert core.speak_by is None
    end(core, A, now=1.0)
    assert said(core, now=1.0) == [TaskResponse(A, DONE)]


def test_the_host_is_woken_to_hear_by_when_a_start_is_to_be_said() -> None:
    woken: list[bool] = []
    core = AgentCore(slots=1, wake=lambda: woken.append(True), places={})
    new_session(core)
    core.received([request(A)], now=0.0)
    woken.clear()
    core.started(A, at=0.0)
    assert len(woken) == 1


def test_each_start_has_a_moment_of_its_own() -> None:
    core = running(A, B)
    core.started(A, at=0.0, containment="subreaper")
    core.started(B, at=0.03, containment="subreaper")
    assert said(core, now=0.05) == [started(A, ago_ms=50)]
    assert core.speak_by == pytest.approx(0.08)
    assert said(core, now=0.081) == [started(B, ago_ms=51)]


def test_a_start_does_not_go_with_what_is_said_of_others() -> None:
    core = begun(A, B)
    end(core, B)
    assert said(core) == [started(B), TaskResponse(B, DONE)]
    end(core, A)
    assert said(core) == [started(A), TaskResponse(A, DONE)]


def test_what_began_long_ago_waits_no_more() -> None:
    core = running(A)
    core.started(A, at=0.0, containment="subreaper")
    assert said(core, now=10.0) == [started(A, ago_ms=10_000)]


def test_an_end_that_is_still_being_written_down_does_not_keep_the_start() -> None:
    core = running(A, type="command")
    core.started(A, at=0.0, containment="subreaper")
    end(core, A)
    assert said(core) == []
    assert said(core, now=MOMENT_SECONDS) == [started(A, ago_ms=50)]
    core.written(core.recorded, now=0.1)
    assert said(core, now=0.1) == [TaskResponse(A, DONE)]


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(AgentCore.drain, id="the agent leaves"),
        pytest.param(AgentCore.give_back, id="the server wants it to be empty"),
        pytest.param(lambda core: core.cancel([CancelCommand(A, 2_000)]), id="cancelled"),
        pytest.param(lambda core: core.heartbeat_acked(0, [A]), id="unknown to the server"),
    ],
)
def test_a_start_is_said_at_once_when_its_attempt_is_to_end(happens: Callable[[AgentCore], object]) -> None:
    core = begun(A)
    happens(core)
    assert said(core) == [started(A)]
    assert core.speak_by is None


def test_a_lease_that_is_over_has_the_start_said_at_once() -> None:
    core = AgentCore(slots=1, wake=lambda: None, places={"command": "spawner"})
    new_session(core)
    spec = TaskSpec(type="command")
    leased = TaskRequest(ref=A, spec=spec, payload=b"", execution=Execution.REPLAYABLE, lease_ms=1_000)
    core.received([leased], now=0.0)
    core.written(core.recorded, now=0.0)
    core.started(A, at=1.0, containment="subreaper")
    core.lapsed(now=1.001)
    assert said(core, now=1.001) == [started(A, ago_ms=1)]


@pytest.mark.parametrize(
    "tell, update",
    [
        pytest.param(lambda core: core.progress(A, Progress(fraction=0.5)), Progress(fraction=0.5), id="progress"),
        pytest.param(
            lambda core: core.extended(A, Wish(heartbeat_seconds=60.0)),
            Extended(number=1, heartbeat_timeout_ms=60_000),
            id="extension",
        ),
    ],
)
def test_a_start_is_said_before_all_else_of_its_attempt(tell: Callable[[AgentCore], object], update: Update) -> None:
    core = begun(A, B)
    tell(core)
    assert said(core) == [started(A), TaskResponse(A, update)]


def test_a_start_goes_with_the_first_output() -> None:
    core = begun(A, B)
    core.output_grew(A, LogStream.STDOUT, 5)
    outgoing = core.outgoing(now=0.0)
    assert outgoing.responses == [started(A)]
    assert [read.ref for read in outgoing.reads] == [A]
    core.log_sent(LogChunk(A, LogStream.STDOUT, 0, b"a" * 5))
    assert core.outgoing(now=0.0) == NOTHING


def test_a_start_that_is_heard_of_after_the_first_output_does_not_wait() -> None:
    core = running(A)
    core.output_grew(A, LogStream.STDOUT, 5)
    core.started(A, at=0.0, containment="subreaper")
    outgoing = core.outgoing(now=0.0)
    assert outgoing.responses == [started(A)]
    assert [read.ref for read in outgoing.reads] == [A]


def test_what_begins_while_the_agent_drains_is_said_at_once() -> None:
    core = running(A)
    core.drain()
    core.started(A, at=0.0, containment="subreaper")
    assert said(core) == [started(A)]


def test_a_start_that_waited_is_said_at_once_in_the_next_session() -> None:
    core = begun(A)
    assert said(core) == []
    assert [held.ref for held in core.hello_held(now=0.0)] == [A]
    assert core.speak_by is None
    core.welcomed([], response_credit=1, log_credit=0)
    assert said(core, now=0.02) == [started(A, ago_ms=20)]


def test_without_credit_a_start_that_is_due_waits_for_that_alone() -> None:
    core = begun(A, response_credit=0)
    assert said(core, now=MOMENT_SECONDS) == []
    assert core.speak_by is None  # else the host would ask again and again
    core.credit(response_credit=1)
    assert said(core, now=0.06) == [started(A, ago_ms=60)]


def test_an_agent_whose_start_waits_has_something_left_to_tell() -> None:
    core = running(A)
    assert core.is_told
    core.started(A, at=0.0)
    assert not core.is_told


def test_of_a_superseded_attempt_no_start_is_said() -> None:
    core = begun(A)
    core.received([request(LATER_A)], now=0.0)
    assert core.speak_by is None
    assert said(core, now=1.0) == []


def test_more_starts_than_fit_come_before_the_ends_of_the_same() -> None:
    refs = [AttemptRef(str(number), 1, number + 1) for number in range(300)]
    core = AgentCore(slots=300, wake=lambda: None, places={})
    new_session(core)
    core.received([request(ref) for ref in refs], now=0.0)
    for ref in refs:
        core.started(ref, at=0.0)
    core.ended([TaskResponse(ref, DONE) for ref in refs], now=0.0)
    told: dict[AttemptRef, list[type]] = {}
    while responses := said(core):
        for ref, update in responses:
            told.setdefault(ref, []).append(type(update))
    assert told == {ref: [Started, Finished] for ref in refs}
