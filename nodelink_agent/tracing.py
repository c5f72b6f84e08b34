"""The agent's spans: `run`, one for each attempt. Loaded only where an endpoint is configured.

Spans carry names, numbers and ids; never a payload, an environment or what a handler said.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry.trace import SpanKind

from nodelink.task import Finished, Outcome, TaskRequest
from nodelink.tracing import OpenSpan, Spans, open_spans
from nodelink_agent.context import BeginTrace, Trace

SERVICE = "nodelink-agent"


@asynccontextmanager
async def open_trace(endpoint: str, *, version: str, agent_id: str) -> AsyncIterator[BeginTrace]:
    """Trace attempts to an endpoint. Its end waits a bounded time for the last spans."""
    async with open_spans(endpoint, service=SERVICE, version=version, instance=agent_id) as spans:
        yield AgentTracing(spans).begin


class AgentTracing:
    """Makes a span of each attempt."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def begin(self, request: TaskRequest) -> Trace:
        """An attempt begins. Its own spans belong below this one."""
        ref, spec = request.ref, request.spec
        span = self._spans.begin(
            "run",
            parent=request.traceparent,
            kind=SpanKind.CONSUMER,
            attributes={
                "nodelink.task.id": ref.task_id,
                "nodelink.task.type": spec.type,
                "nodelink.task.pool": spec.pool,
                "nodelink.task.attempt": ref.attempt,
            },
        )
        return Trace(span.traceparent or request.traceparent, lambda finished: _end(span, finished))


def _end(span: OpenSpan, finished: Finished) -> None:
    attributes: dict[str, str | int] = {
        "nodelink.outcome": finished.outcome.value,
        "nodelink.task.reason": finished.reason.value,
    }
    if finished.exit_code is not None:
        attributes["process.exit.code"] = finished.exit_code
    span.end(attributes, failed=finished.outcome in {Outcome.FAILED, Outcome.TIMEOUT})
