"""Spans that stay in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from nodelink.tracing import Spans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
UNSAMPLED = f"00-{TRACE}-{CALLER}-00"


class Kept:
    """Where spans begin, and those that have ended."""

    def __init__(self, exporter: InMemorySpanExporter, spans: Spans) -> None:
        self._exporter = exporter
        self.spans = spans

    @property
    def names(self) -> list[str]:
        """The names of the spans that have ended, in that order."""
        return [span.name for span in self.ended()]

    def ended(self, name: str = "") -> list[ReadableSpan]:
        """The spans that have ended, of one name or all."""
        return [span for span in self._exporter.get_finished_spans() if name in {"", span.name}]

    def only(self, name: str) -> ReadableSpan:
        """The one span of a name."""
        [span] = self.ended(name)
        return span


@contextmanager
def kept_spans() -> Iterator[Kept]:
    """Spans that are kept as soon as they end."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    try:
        yield Kept(exporter, Spans(provider.get_tracer("test")))
    finally:
        provider.shutdown()


def trace_of(span: ReadableSpan) -> str:
    """The trace that a span belongs to."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    """What names a span to others."""
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    """The span above; empty: it begins a trace."""
    return f"{span.parent.span_id:016x}" if span.parent is not None else ""


def has_failed(span: ReadableSpan) -> bool:
    """Whether a span says that something failed."""
    return not span.status.is_ok and not span.status.is_unset
