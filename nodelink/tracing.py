"""Spans of a service, sent by OTLP over gRPC. Needs `nodelink[tracing]`; loaded only where there is an endpoint.

Sending is the SDK's: a thread of its own takes spans from a bounded queue, and while the receiver is away the oldest
are lost. What is traced never waits for it. The standard OTEL_* variables (headers, certificates, sampler, batches,
resource) keep their meaning.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

FLUSH_SECONDS = 3.0
"""How long the end of a service waits until its last spans are sent."""
LEAVE_SECONDS = 1.0
"""How long it waits after that for the sender to notice that it is over."""

Attributes = Mapping[str, str | int]

log = structlog.get_logger(__name__)


class OpenSpan:
    """A span that has begun. `traceparent` names it to others; empty: nothing is traced at all."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent_of(span.get_span_context())

    def end(self, attributes: Attributes | None = None, *, failed: bool = False, at_ns: int | None = None) -> None:
        """End it, at a moment in nanoseconds since the epoch (None: now)."""
        if attributes:
            self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(at_ns)


class Spans:
    """Where spans begin."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(
        self, name: str, *, parent: str, kind: SpanKind, attributes: Attributes | None = None, at_ns: int | None = None
    ) -> OpenSpan:
        """Begin a span below a `traceparent`, which decides whether it is sampled; empty: it begins a trace."""
        return OpenSpan(
            self._tracer.start_span(
                name, context=_context_of(parent), kind=kind, attributes=attributes, start_time=at_ns
            )
        )


@asynccontextmanager
async def open_spans(endpoint: str, *, service: str, version: str, instance: str) -> AsyncIterator[Spans]:
    """Have spans sent to an endpoint. Its end waits a bounded time for the last ones."""
    _listen_to_the_sdk()
    exporter = OTLPSpanExporter(endpoint=endpoint)
    provider = TracerProvider(resource=_resource(service, version, instance), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    log.info("tracing", endpoint=endpoint)
    try:
        yield Spans(provider.get_tracer("nodelink", version))
    finally:
        await _close(provider, exporter)


class _SdkLog(logging.Handler):
    """What the SDK complains about, among our own log lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("sending_spans", said=record.getMessage())


def _listen_to_the_sdk() -> None:
    sdk = logging.getLogger("opentelemetry")
    sdk.handlers, sdk.propagate = [_SdkLog()], False
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # each try again is a warning


async def _close(provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
    """Send what is left. A receiver that takes too long is given up: a thread that hangs must not hold the process."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # it was given up, and the loop is gone
            loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=close, name="last spans", daemon=True).start()
    if await _within(FLUSH_SECONDS, closed):
        return
    log.warning("spans_given_up", after=FLUSH_SECONDS)
    exporter.shutdown()
    await _within(LEAVE_SECONDS, closed)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _resource(service: str, version: str, instance: str) -> Resource:
    """Who sends. What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before it."""
    ours = {"service.name": service, "service.version": version, "service.instance.id": instance}
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _context_of(traceparent: str) -> Context:
    """A `traceparent` as a parent; an empty one makes none, whatever else is under way in this thread."""
    if not traceparent:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _traceparent_of(context: SpanContext) -> str:
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
