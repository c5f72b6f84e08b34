"""A task's trace: from its caller's header into the command's environment, and as spans at a receiver."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from nodelink.v1 import task_pb2, task_pb2_grpc
from tests.support.otlp import OtlpReceiver, Received, otlp_receiver
from tests.support.processes import Agent, Server, Services, refusal
from tests.support.rest import Rest

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
PRINT = ["printenv", "TRACEPARENT"]
STOP_SECONDS = 15.0
SPANS = ("submit", "dispatch", "run", "settle")

pytestmark = pytest.mark.slow


async def started(services: Services, *flags: str) -> tuple[Server, Agent]:
    """A server and an agent with the same flags."""
    server = await services.server(*flags)
    agent = await services.agent(server, *flags)
    async with Rest(server) as rest:
        await rest.online()
    return server, agent


async def run_traced(rest: Rest, command: list[str], traceparent: str = TRACEPARENT) -> str:
    """Run a command below a trace. Returns its task's id, once it has ended."""
    task_id = str((await rest.post("/tasks/shell", {"command": command}, traceparent=traceparent))["id"])
    await rest.result(task_id)
    return task_id


async def test_a_trace_goes_from_the_header_into_the_environment_of_the_command(services: Services) -> None:
    server, _ = await started(services)
    async with Rest(server) as rest:
        task_id = await run_traced(rest, PRINT)
        printed = (await rest.logs(task_id)).decode().strip()

    assert printed == TRACEPARENT  # nothing is exported, so nothing stands between


@pytest.mark.parametrize("where", ["metadata", "field"])
async def test_a_trace_goes_from_a_grpc_call_into_the_environment_of_the_command(
    services: Services, where: str
) -> None:
    server, _ = await started(services)
    request = task_pb2.SubmitTaskRequest(
        spec=task_pb2.TaskSpec(type="shell", payload=json.dumps({"command": PRINT}).encode()),
        traceparent=TRACEPARENT if where == "field" else "",
    )
    metadata = [("traceparent", TRACEPARENT)] if where == "metadata" else []
    async with grpc.aio.insecure_channel(server.grpc) as channel, Rest(server) as rest:
        stub: Any = task_pb2_grpc.TaskServiceStub(channel)
        task_id = (await stub.SubmitTask(request, metadata=metadata, timeout=30)).task.id
        await rest.result(task_id)
        assert (await rest.logs(task_id)).decode().strip() == TRACEPARENT


async def test_a_trace_outlives_a_restart_of_the_server(services: Services) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        task_id = str((await rest.post("/tasks/shell", {"command": PRINT}, traceparent=TRACEPARENT))["id"])
    await server.kill()
    server = await services.server(again=server)
    await services.agent(server)
    async with Rest(server) as rest:
        await rest.result(task_id)
        assert (await rest.logs(task_id)).decode().strip() == TRACEPARENT


async def test_a_header_that_is_no_trace_context_is_ignored(services: Services) -> None:
    server, _ = await started(services)
    async with Rest(server) as rest:
        task_id = await run_traced(rest, PRINT, "00-zz-zz-01")
        result = await rest.result(task_id)

    assert result["exit_code"] == 1  # there is no such variable


async def test_four_spans_of_one_trace_come_to_the_receiver(services: Services) -> None:
    async with otlp_receiver() as receiver:
        server, _ = await started(services, "--otlp-endpoint", receiver.endpoint)
        async with Rest(server) as rest:
            task_id = await run_traced(rest, [*PRINT])
            printed = (await rest.logs(task_id)).decode().strip()
        submit, dispatch, run, settle = await spans_of(receiver, task_id)

    assert {span.trace_id for span in (submit, dispatch, run, settle)} == {TRACE}
    assert submit.parent_id == CALLER
    assert {span.parent_id for span in (dispatch, run, settle)} == {submit.span_id}
    assert [span.service for span in (submit, run)] == ["nodelink-server", "nodelink-agent"]
    assert printed == f"00-{TRACE}-{run.span_id}-01"
    assert run.attributes["process.exit.code"] == 0
    assert all(span.began_ns <= span.ended_ns for span in (submit, dispatch, run, settle))
    assert submit.began_ns <= run.began_ns <= run.ended_ns <= settle.ended_ns


async def test_the_last_spans_are_sent_when_the_services_stop(services: Services) -> None:
    async with otlp_receiver() as receiver:
        server, agent = await started(services, "--otlp-endpoint", receiver.endpoint)
        async with Rest(server) as rest:
            task_id = await run_traced(rest, ["false"])
        for service in (agent, server):
            service.terminate()
            assert await service.ended(STOP_SECONDS) == 0
        spans = [span for span in receiver.spans if span.attributes.get("nodelink.task.id") == task_id]

    assert {span.name: span.failed for span in spans} == {
        "submit": False,
        "dispatch": False,
        "run": True,
        "settle": True,
    }


@pytest.fixture
def nobody() -> Iterator[str]:
    """An endpoint where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def silence() -> Iterator[str]:
    """An endpoint that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("where", ["nobody", "silence"])
async def test_a_receiver_that_is_away_stops_nothing(
    services: Services, where: str, request: pytest.FixtureRequest
) -> None:
    server, agent = await started(services, "--otlp-endpoint", request.getfixturevalue(where))
    async with Rest(server) as rest:
        results = await rest.results(await rest.echo(500))
        await run_traced(rest, PRINT)
    assert {result["status"] for result in results} == {"completed"}
    for service in (agent, server):
        service.terminate()
    assert [await service.ended(STOP_SECONDS) for service in (agent, server)] == [0, 0]


@pytest.mark.parametrize("program", ["nodelink_server", "nodelink_agent"])
@pytest.mark.parametrize("endpoint", ["collector:4317", "ftp://collector:4317", "http://collector", "http://"])
async def test_an_endpoint_that_is_none_is_refused_by_name(tmp_path: Path, program: str, endpoint: str) -> None:
    code, words = await refusal(program, "--otlp-endpoint", endpoint, cwd=tmp_path)

    assert code == 78
    assert "otlp_endpoint" in words
    assert "http://host:port" in words


async def spans_of(receiver: OtlpReceiver, task_id: str) -> list[Received]:
    """The four spans of a task, as soon as they have come."""
    spans = await receiver.named(*SPANS)
    assert {span.attributes["nodelink.task.id"] for span in spans} == {task_id}
    return spans
