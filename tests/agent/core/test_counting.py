"""What an agent counts as taken of it, by its heartbeats."""

from __future__ import annotations

from nodelink.taken import NOTHING, ONE_SLOT, Taken
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    Execution,
    Finished,
    LogAck,
    LogStream,
    Outcome,
    ResultAck,
    TaskRequest,
    TaskResponse,
    TaskSpec,
)
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.records import Remembered

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
B = AttemptRef("b", 1, 11)
WIDE = TaskSpec(type="echo", slots=3, resources={"cpu": 500, "gpu": 1_000})


def request(ref: AttemptRef, spec: TaskSpec = WIDE, *, granted: bool = True) -> TaskRequest:
    return TaskRequest(ref=ref, spec=spec, payload=b"", execution=Execution.REPLAYABLE, granted=granted)


def make_core(*requests: TaskRequest) -> AgentCore:
    core = AgentCore(slots=5, wake=lambda: None, places={})
    core.hello_held(now=0.0)
    core.welcomed([], response_credit=1_000, log_credit=1_000)
    core.outgoing(now=0.0)
    core.received(requests, now=0.0)
    return core


def taken(core: AgentCore) -> Taken:
    return core.heartbeat(now=1.0).taken


def end(core: AgentCore, ref: AttemptRef, *, printed: int = 0) -> None:
    totals = {LogStream.STDOUT: printed} if printed else {}
    core.ended([TaskResponse(ref, Finished(outcome=Outcome.COMPLETED, log_totals=totals))], now=1.0)


def acknowledge(core: AgentCore, ref: AttemptRef) -> None:
    core.outgoing(now=1.0)
    core.result_acked([ResultAck(ref, AckDisposition.COMMITTED)])


def test_an_idle_agent_counts_nothing() -> None:
    assert taken(make_core()) == NOTHING


def test_what_runs_takes_what_its_task_asks_for() -> None:
    assert taken(make_core(request(A), request(B, TaskSpec(type="echo")))) == Taken(4, {"cpu": 500, "gpu": 1_000})


def test_so_does_an_offer_that_is_accepted() -> None:
    assert taken(make_core(request(A, granted=False))) == Taken(3, {"cpu": 500, "gpu": 1_000})


def test_a_task_of_several_slots_takes_one_of_the_credit_which_counts_tasks() -> None:
    assert make_core(request(A)).task_credit() == 1 + 4


def test_what_has_ended_counts_until_that_is_durable() -> None:
    core = make_core(request(A))
    end(core, A)
    assert taken(core).slots == 3
    acknowledge(core, A)
    assert taken(core) == NOTHING


def test_what_has_only_output_left_to_deliver_counts_no_more() -> None:
    core = make_core(request(A))
    core.output_grew(A, LogStream.STDOUT, 5)
    end(core, A, printed=5)
    acknowledge(core, A)
    assert taken(core) == NOTHING
    core.log_acked([LogAck(A, LogStream.STDOUT, 5)])
    assert core.is_idle


def test_what_counts_no_more_takes_what_it_took_until_it_is_gone() -> None:
    core = make_core(request(A))
    core.received([request(LATER_A, TaskSpec(type="echo"))], now=1.0)
    assert taken(core) == Taken(4, {"cpu": 500, "gpu": 1_000})
    end(core, A)
    assert taken(core) == ONE_SLOT


def test_what_an_earlier_process_left_takes_what_it_took() -> None:
    core = AgentCore(slots=5, wake=lambda: None, places={})
    core.restore([Remembered(A, Execution.ONCE, takes=Taken(3, {"gpu": 1_000})), Remembered(B, Execution.ONCE)])
    core.hello_held(now=0.0)
    assert taken(core) == Taken(4, {"gpu": 1_000})
