"""Targets that read the frames of the stream between agent and server."""

from __future__ import annotations

import math

from google.protobuf.message import DecodeError

from nodelink import wire
from nodelink.errors import LinkError
from nodelink.task import Finished, Progress, Started, TaskRequest, TaskResponse
from nodelink.v1 import agent_pb2
from nodelink_server.rpc.reading import (
    LARGEST_NUMBER,
    LARGEST_OFFSET,
    MOST_HELD,
    check_frame,
    chunks_of,
    hello_of,
    response_of,
)


def agent_frame(data: bytes) -> None:
    """One frame from an agent, as the server reads it: refused in words, or every number can be stored."""
    try:
        frame = agent_pb2.ConnectRequest.FromString(data)
    except DecodeError:
        return
    try:
        check_frame(frame)
        responses = [response for pb in frame.responses if (response := response_of(pb)) is not None]
        chunks = chunks_of(frame.logs)
    except LinkError:
        return
    for response in responses:
        _check_response(response)
    assert all(0 <= chunk.offset <= chunk.end <= LARGEST_OFFSET for chunk in chunks)
    [wire.ref_of(ref) for ref in frame.heartbeat.running]
    _read_hello(frame)


def _read_hello(frame: agent_pb2.ConnectRequest) -> None:
    try:
        hello = hello_of(frame)
    except LinkError:
        return
    assert len(hello.held) <= MOST_HELD


def _check_response(response: TaskResponse) -> None:
    """It can be stored, and it is the same again once it has travelled on."""
    match response.update:
        case Finished() as finished:
            assert 0 <= finished.run_seconds < math.inf
            assert 0 <= finished.cpu_seconds < math.inf
            assert finished.max_rss_bytes <= LARGEST_NUMBER
            assert all(total <= LARGEST_OFFSET for total in finished.log_totals.values())
        case Started() as started:
            assert 0 <= started.ago_ms <= LARGEST_NUMBER
        case Progress() as progress:
            assert 0 <= progress.fraction <= 1
        case _:
            pass
    pb = agent_pb2.TaskResponse()
    wire.put_task_response(pb, response)
    assert response_of(agent_pb2.TaskResponse.FromString(pb.SerializeToString())) == response


def server_frame(data: bytes) -> None:
    """One frame from a server, as an agent reads it item by item: it is read, or left out."""
    try:
        frame = agent_pb2.ConnectResponse.FromString(data)
    except DecodeError:
        return
    for pb in frame.tasks:
        request = wire.task_request_of(pb)
        if request is not None:
            once = _sent_on(request)
            assert once.ref == request.ref
            assert _sent_on(once) == once
    for start in map(wire.start_of, frame.starts):
        wire.put_start(agent_pb2.StartCommand(), start)
    for command in map(wire.cancel_of, frame.cancels):
        assert command.grace_ms >= 0
        wire.put_cancel(agent_pb2.CancelCommand(), command)
    for verdict in map(wire.verdict_of, frame.welcome.verdicts):
        if verdict is not None:
            wire.put_verdict(agent_pb2.Verdict(), verdict)
    [wire.result_ack_of(ack) for ack in frame.result_acks]
    [wire.log_ack_of(ack) for ack in frame.log_acks]


def _sent_on(request: TaskRequest) -> TaskRequest:
    pb = agent_pb2.TaskRequest()
    wire.put_task_request(pb, request)
    again = wire.task_request_of(agent_pb2.TaskRequest.FromString(pb.SerializeToString()))
    assert again is not None
    return again
