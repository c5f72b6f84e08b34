"""A receiver of spans: what a collector is to a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from nodelink.traceparent import traceparent_or_empty

WAIT_SECONDS = 60.0

_Request = trace_service_pb2.ExportTraceServiceRequest
_Response = trace_service_pb2.ExportTraceServiceResponse
_Context = grpc.aio.ServicerContext[_Request, _Response]
_register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # its library is not typed


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it came."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    began_ns: int
    ended_ns: int
    attributes: dict[str, str | int] = field(default_factory=dict)


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Received] = []
        self.metadata: list[tuple[str, str | bytes]] = []
        self._came = asyncio.Condition()

    async def Export(self, request: _Request, context: _Context) -> _Response:  # noqa: N802 - the name of the call
        """Take spans."""
        self.metadata += [(key, value) for key, value in context.invocation_metadata() or ()]
        async with self._came:
            self.spans += _spans_of(request)
            self._came.notify_all()
        return _Response()

    async def named(self, *names: str, seconds: float = WAIT_SECONDS) -> list[Received]:
        """The first span of each name, as soon as all have come."""

        def found() -> dict[str, Received]:
            return {span.name: span for span in reversed(self.spans)}

        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: set(names) <= found().keys())
        return [found()[name] for name in names]


@asynccontextmanager
async def otlp_receiver(address: str = "127.0.0.1:0") -> AsyncIterator[OtlpReceiver]:
    """A receiver that listens."""
    receiver, server = OtlpReceiver(), grpc.aio.server()
    _register(receiver, server)
    port = server.add_insecure_port(address)
    receiver.endpoint = f"http://127.0.0.1:{port}"
    await server.start()
    try:
        yield receiver
    finally:
        await server.stop(None)


def parts_of(traceparent: str) -> tuple[str, str]:
    """The trace and the span that a `traceparent` names."""
    assert traceparent_or_empty(traceparent)
    _, trace_id, span_id, _ = traceparent.split("-")
    return trace_id, span_id


def _spans_of(request: _Request) -> Iterable[Received]:
    for resource in request.resource_spans:
        service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _received(service, span)


def _received(service: str, span: Span) -> Received:
    return Received(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes={a.key: a.value.string_value or a.value.int_value for a in span.attributes},
    )
