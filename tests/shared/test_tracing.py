"""Sending spans: where to, with what, how it ends; and that nothing of it is there for those who do not want it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, use_span

from nodelink.otlp import parse_otlp_endpoint
from nodelink.tracing import FLUSH_SECONDS, LEAVE_SECONDS, Spans, open_spans
from tests.support.otlp import OtlpReceiver, otlp_receiver, parts_of
from tests.support.processes import ROOT, until
from tests.support.spans import CALLER, TRACE, TRACEPARENT, UNSAMPLED

BOUND_SECONDS = FLUSH_SECONDS + LEAVE_SECONDS + 5


def traced(spans: Spans, parent: str = TRACEPARENT) -> str:
    """One span from its beginning to its end. Returns what names it."""
    span = spans.begin("work", parent=parent, kind=SpanKind.INTERNAL)
    span.end({"number": 7}, failed=True)
    return span.traceparent


async def received(receiver: OtlpReceiver, parent: str = TRACEPARENT) -> str:
    """Send one span. Returns what named it; it has been received, or never will be."""
    async with open_spans(receiver.endpoint, service="ours", version="1", instance="i") as spans:
        return traced(spans, parent)


async def test_a_span_comes_to_the_receiver_before_the_end_is_over() -> None:
    async with otlp_receiver() as receiver:
        name = await received(receiver)
        [span] = receiver.spans

    assert parts_of(name) == (span.trace_id, span.span_id)
    assert (span.trace_id, span.parent_id, span.service) == (TRACE, CALLER, "ours")
    assert (span.name, span.failed, span.attributes) == ("work", True, {"number": 7})


async def test_a_span_without_a_parent_begins_a_trace_whatever_else_is_under_way() -> None:
    other = NonRecordingSpan(SpanContext(7, 7, is_remote=False, trace_flags=TraceFlags(1)))
    async with otlp_receiver() as receiver:
        with use_span(other):
            await received(receiver, "")
        [span] = receiver.spans

    assert span.parent_id == ""
    assert span.trace_id != TRACE


async def test_a_caller_who_does_not_sample_is_obeyed_and_the_context_goes_on() -> None:
    async with otlp_receiver() as receiver:
        name = await received(receiver, UNSAMPLED)

    assert receiver.spans == []
    assert name.startswith(f"00-{TRACE}-")
    assert name.endswith("-00")


async def test_the_variables_of_the_sdk_keep_their_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
    async with otlp_receiver() as receiver:
        await received(receiver)
        [span] = receiver.spans

    assert ("authorization", "Bearer token") in receiver.metadata
    assert span.service == "theirs"


async def test_the_sampler_of_the_environment_is_for_traces_that_begin_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with otlp_receiver() as receiver:
        await received(receiver, "")
        await received(receiver, TRACEPARENT)

    assert [span.parent_id for span in receiver.spans] == [CALLER]


async def test_where_the_sdk_is_switched_off_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with otlp_receiver() as receiver:
        name = await received(receiver, "")

    assert (name, receiver.spans) == ("", [])


async def test_a_receiver_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silence:
        async with asyncio.timeout(BOUND_SECONDS):
            async with open_spans(_endpoint(silence), service="ours", version="1", instance="i") as spans:
                traced(spans)
    await until(lambda: "last spans" not in _threads() or None, "nothing of it left behind", seconds=5)


async def test_a_receiver_that_is_not_there_is_given_up() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with asyncio.timeout(BOUND_SECONDS):
            async with open_spans(_endpoint(nobody), service="ours", version="1", instance="i") as spans:
                for _ in range(10_000):  # more than the queue holds
                    traced(spans)


@pytest.mark.parametrize("text", ["", "http://localhost:4317", "https://collector.example:443/", "http://[::1]:4317"])
def test_an_endpoint_is_taken_as_it_is(text: str) -> None:
    assert parse_otlp_endpoint(text) == text


@pytest.mark.parametrize(
    "text", ["localhost:4317", "grpc://a:1", "http://a", "http://:4317", "http://a:99999", "http://a:1/v1/traces", "x"]
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an endpoint; write http://host:port"):
        parse_otlp_endpoint(text)


def test_credentials_in_an_endpoint_are_refused_without_showing_them() -> None:
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS") as refusal:
        parse_otlp_endpoint("http://user:hunter2@collector:4317")
    assert "hunter2" not in str(refusal.value)


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50, check=True
    )
    return done.stdout.strip()


def test_without_the_extra_the_setting_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None\n"
    code += "from nodelink.settings import SettingError\n"
    code += "from nodelink_server.settings import read_server_settings as read\n"
    code += "try: read(['--otlp-endpoint', 'http://a:1'], {})\nexcept SettingError as error: print(error)"
    assert run(code).endswith("install what sends them with pip install 'nodelink[tracing]'")


@pytest.mark.parametrize("service", ["nodelink_server", "nodelink_agent"])
def test_who_sends_no_spans_loads_nothing_for_it(service: str) -> None:
    code = f"import sys, {service}.app; print(*sys.modules)"
    loaded = set(run(code).split())
    assert f"{service}.app" in loaded
    assert not loaded & {"nodelink.tracing", f"{service}.tracing", "opentelemetry.sdk", "opentelemetry.exporter"}


def test_reading_the_setting_loads_no_grpc() -> None:
    code = "import sys; from nodelink_agent.settings import read_agent_settings as read\n"
    code += "print(read(['--otlp-endpoint', 'http://a:1'], {}).otlp_endpoint, 'grpc' in sys.modules)"
    assert run(code) == "http://a:1 False"  # the agent starts the process that starts others before gRPC is loaded


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def _endpoint(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"
