"""The server's spans: `submit`, `dispatch` and `settle`. Loaded only where an endpoint is configured.

A task keeps the context of its `submit`, so `dispatch`, the agent's `run` and `settle` are siblings below that, once
for each attempt. Spans carry names, numbers and ids; never a payload, an environment, a message or a label.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from opentelemetry.trace import SpanKind

from nodelink.task import Submission, TaskStatus
from nodelink.tracing import Attributes, OpenSpan, Spans, open_spans
from nodelink.values import evolve
from nodelink_server.core.observer import Observer
from nodelink_server.core.ports import Change
from nodelink_server.core.task import Task

SERVICE = "nodelink-server"
_NS_PER_MS = 1_000_000
_FAILED = frozenset({TaskStatus.FAILED, TaskStatus.TIMEOUT, TaskStatus.LOST})


@asynccontextmanager
async def open_observer(endpoint: str, *, version: str, server_id: str) -> AsyncIterator[Observer]:
    """Trace tasks to an endpoint. Its end waits a bounded time for the last spans."""
    async with open_spans(endpoint, service=SERVICE, version=version, instance=server_id) as spans:
        tracing = ServerTracing(spans)
        yield Observer(submitting=tracing.submitting, committed=tracing.committed)


class ServerTracing:
    """Makes spans out of what happens to tasks. Lives on the loop."""

    def __init__(self, spans: Spans, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._spans = spans
        self._now_ns = now_ns
        self._submitting: dict[str, OpenSpan] = {}

    @contextmanager
    def submitting(self, submissions: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
        """A `submit` for each, until its commit. What is refused, or was accepted before, ends when the call does."""
        begun = [self._spans.begin("submit", parent=one.traceparent, kind=SpanKind.PRODUCER) for one in submissions]
        kept = [_joined(submission, span) for submission, span in zip(submissions, begun, strict=True)]
        self._submitting.update((span.traceparent, span) for span in begun if span.traceparent)
        failed = True
        try:
            yield kept
            failed = False
        finally:
            for span in begun:
                if self._submitting.pop(span.traceparent, None) is not None:
                    span.end(failed=failed)

    def committed(self, changes: Sequence[Change]) -> None:
        """See what has become durable."""
        now = self._now_ns()
        for change in changes:
            task = change.task
            if not task.traceparent:
                continue
            self._accepted(task, now)
            if task.status is TaskStatus.SENT:
                self._dispatched(task, now)
            elif task.is_terminal:
                self._settled(task, now)

    def _accepted(self, task: Task, now: int) -> None:
        """If this is its first commit."""
        span = self._submitting.pop(task.traceparent, None)
        if span is not None:
            span.end(_attributes(task), at_ns=now)

    def _dispatched(self, task: Task, now: int) -> None:
        ready_at = task.ready_at if task.ready_at is not None else task.created_at
        self._past("dispatch", task, ready_at, now)

    def _settled(self, task: Task, now: int) -> None:
        attributes = {"nodelink.task.status": task.status.value, "nodelink.task.reason": task.reason.value}
        ended_at = task.finished_at if task.finished_at is not None else task.created_at
        self._past("settle", task, ended_at, now, attributes, failed=task.status in _FAILED)

    def _past(
        self,
        name: str,
        task: Task,
        began_ms: int,
        now: int,
        more: Attributes | None = None,
        *,
        failed: bool = False,
    ) -> None:
        """A span of what is over."""
        began = min(began_ms * _NS_PER_MS, now)
        attributes = {**_attributes(task), **(more or {})}
        span = self._spans.begin(
            name, parent=task.traceparent, kind=SpanKind.INTERNAL, attributes=attributes, at_ns=began
        )
        span.end(failed=failed, at_ns=now)


def _joined(submission: Submission, span: OpenSpan) -> Submission:
    return evolve(submission, traceparent=span.traceparent) if span.traceparent else submission


def _attributes(task: Task) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "nodelink.task.id": task.id,
        "nodelink.task.type": task.spec.type,
        "nodelink.task.pool": task.spec.pool,
    }
    if task.attempt is not None:
        attributes["nodelink.task.attempt"] = task.attempt.number
        attributes["nodelink.agent.id"] = task.attempt.agent_id
    return attributes
