"""What an attempt's context passes on."""

from __future__ import annotations

from nodelink.task import AttemptRef, Execution, Reason, TaskRequest, TaskSpec
from nodelink_agent.boottime import boottime
from nodelink_agent.context import AttemptContext
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.deadlines import Deadlines
from nodelink_agent.output import Output

Heard = list[tuple[float, Reason]]


def no_output(_ref: AttemptRef) -> Output:
    raise AssertionError


def context_of_a_task() -> AttemptContext:
    request = TaskRequest(ref=AttemptRef("a", 1, 1), spec=TaskSpec(type="shell"), payload=b"", execution=Execution.ONCE)
    teller = AgentCore(slots=1, wake=lambda: None, places={})
    deadlines = Deadlines(lambda _: None)
    return AttemptContext(request, deadlines=deadlines, teller=teller, open_output=no_output, clock=boottime)


async def test_whoever_wants_to_hear_of_a_stop_is_told_of_the_first() -> None:
    context, heard = context_of_a_task(), Heard()
    context.on_stop(lambda grace, reason: heard.append((grace, reason)))
    assert (context.listens, heard) == (True, [])
    context.ask_stop(Reason.CANCELLED_BY_CALLER, 3.0)
    context.ask_stop(Reason.RUN_TIMEOUT, 1.0)
    assert heard == [(3.0, Reason.CANCELLED_BY_CALLER)]


async def test_who_comes_after_the_stop_is_told_at_once() -> None:
    context, heard = context_of_a_task(), Heard()
    context.ask_stop(Reason.CANCELLED_BY_CALLER, 3.0)
    context.on_stop(lambda grace, reason: heard.append((grace, reason)))
    assert heard == [(3.0, Reason.CANCELLED_BY_CALLER)]
