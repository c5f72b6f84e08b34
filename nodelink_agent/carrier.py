"""Carries bytes between attempts and the server, on a connection of its own: never on that of the control stream.

What may pass is tried again for as long as the attempt goes on; where the stream broke, it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from nodelink import wire
from nodelink.address import Address
from nodelink.backoff import full_jitter
from nodelink.blob_files import Given, Source, Target
from nodelink.errors import (
    BlobConflict,
    BlobNotFound,
    DigestMismatch,
    ErrorCode,
    InvalidTask,
    LinkLost,
    NodelinkError,
    NotAllowed,
    NotAuthenticated,
    NotBuilt,
    QuotaExceeded,
    StateChanged,
)
from nodelink.failpoints import hit
from nodelink.feed import Feed
from nodelink.task import AttemptRef
from nodelink.v1 import agent_pb2, agent_pb2_grpc, data_pb2, data_pb2_grpc
from nodelink_agent.blobs import StateRef, TaskArtifact, TaskInputs

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
CALL_SECONDS = 30.0
MAX_RECEIVED_BYTES = 4 * 1024 * 1024

CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive_timeout_ms alone does nothing below a minute
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
)

_DETAILS = "grpc-status-details-bin"
_REFUSALS: Mapping[str, type[NodelinkError]] = {
    ErrorCode.NOT_FOUND: BlobNotFound,
    ErrorCode.CONFLICT: BlobConflict,
    ErrorCode.DIGEST_MISMATCH: DigestMismatch,
    ErrorCode.QUOTA_EXCEEDED: QuotaExceeded,
    ErrorCode.PRECONDITION_FAILED: StateChanged,
    ErrorCode.FORBIDDEN: NotAllowed,
    ErrorCode.UNAUTHENTICATED: NotAuthenticated,
    ErrorCode.NOT_BUILT: NotBuilt,
}
_PASSING = {ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED}
_BROKEN = {
    *(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED),
    grpc.StatusCode.INTERNAL,  # so gRPC calls a write into a stream that has just ended
}

_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)


class Carrier:
    """An agent's connection for bytes. It is made when it is first needed."""

    def __init__(self, address: Address, *, agent_id: str, secret: bytes, random: Callable[[], float]) -> None:
        self._address = address
        self._agent_id = agent_id
        self._secret = secret
        self._random = random
        self._channel: grpc.aio.Channel | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Carry for as long as this lasts."""
        try:
            yield
        finally:
            if self._channel is not None:
                await self._channel.close(None)

    def blobs(self, ref: AttemptRef, sign: Callable[[], None]) -> AttemptBlobs:
        """The blobs of an attempt."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(str(self._address), options=CHANNEL_OPTIONS)
        proof = agent_pb2.AttemptProof(agent_id=self._agent_id, secret=self._secret)
        wire.put_ref(proof.ref, ref)
        return AttemptBlobs(self._channel, proof, sign=sign, random=self._random)


class AttemptBlobs:
    """The `Blobs` of one attempt."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        proof: agent_pb2.AttemptProof,
        *,
        sign: Callable[[], None],
        random: Callable[[], float],
    ) -> None:
        self._agents: Any = agent_pb2_grpc.AgentServiceStub(channel)
        self._data: Any = data_pb2_grpc.DataServiceStub(channel)
        self._proof = proof
        self._sign = sign
        self._random = random

    async def load(self) -> TaskInputs:
        """What there is to work on."""
        request = data_pb2.LoadTaskDataRequest(proof=self._proof)
        answer = await self._insist(lambda: self._data.LoadTaskData(request, timeout=CALL_SECONDS))
        artifacts = [
            TaskArtifact(name=one.name, attempt=one.attempt, sha256=one.sha256, size=one.size)
            for one in answer.artifacts
        ]
        state = _state_of(answer.state) if answer.HasField("state") else None
        return TaskInputs(artifacts=artifacts, workspace=answer.workspace, state=state)

    async def get(self, sha256: str, path: Path | str) -> Path:
        """Have bytes in a file, checked."""
        target = await asyncio.to_thread(Target, path, sha256)
        with target:
            await self._insist(lambda: self._receive(sha256, target))
            whole = await asyncio.to_thread(target.finish)
        hit("agent.download.complete")
        return whole

    async def put(self, given: Given, *, name: str = "") -> str:
        """Have the server have bytes, and perhaps as an artifact."""
        source = await asyncio.to_thread(Source, given)
        with source:
            await self._insist(lambda: self._send(source, name))
        hit("agent.upload.complete")
        return source.sha256

    async def save_state(self, sha256: str, *, if_match: str) -> StateRef:
        """Let bytes be the state of the workspace."""
        request = data_pb2.SaveStateRequest(proof=self._proof, sha256=sha256, if_match=if_match)
        hit("agent.state.before_save")
        answer = await self._insist(lambda: self._data.SaveState(request, timeout=CALL_SECONDS))
        hit("agent.state.saved")
        return _state_of(answer.state)

    async def _receive(self, sha256: str, target: Target) -> None:
        request = agent_pb2.GetBlobRequest(proof=self._proof, sha256=sha256, offset=target.offset)
        call = self._agents.GetBlob(request)
        try:
            async for frame in call:
                await asyncio.to_thread(target.write, frame.data)
                hit("agent.piece.fetched")
                self._sign()
                if target.offset >= frame.size:
                    return
        finally:
            call.cancel()
        raise LinkLost("the server ended the stream")

    async def _send(self, source: Source, name: str) -> None:
        wanted = agent_pb2.BlobAnnouncement(
            proof=self._proof, sha256=source.sha256, size=source.size, artifact_name=name
        )
        feed = Feed(
            agent_pb2.PutBlobRequest(announcement=wanted),
            lambda data: agent_pb2.PutBlobRequest(data=data),
            source,
            lambda _offset, _size: self._sent(),
        )
        call = self._agents.PutBlob(feed.frames())
        try:
            async for answer in call:
                if answer.complete:
                    return
                hit("agent.upload.announced")
                feed.go_on(answer.offset)
        finally:
            feed.stop()
            call.cancel()
        raise feed.error or LinkLost("the server ended the stream")

    def _sent(self) -> None:
        hit("agent.piece.sent")
        self._sign()

    async def _insist(self, deed: Callable[[], Awaitable[_Result]]) -> _Result:
        """Do something, again and again if that may help."""
        delays = full_jitter(initial=FIRST_DELAY, maximum=LONGEST_DELAY, random=self._random)
        while True:
            try:
                return await deed()
            except grpc.RpcError as error:
                refusal = _refusal_of(error)
                if refusal is not None:
                    raise refusal from error
                why = str(getattr(error, "details", lambda: "")() or error)
            except LinkLost as error:
                why = error.message
            delay = next(delays)
            _log.warning("blob_transfer_broken", task_id=self._proof.ref.task_id, reason=why, retry_in=round(delay, 2))
            await asyncio.sleep(delay)


def _refusal_of(error: grpc.RpcError) -> NodelinkError | None:
    """What the server says against it; None: it may pass."""
    call: Any = error
    info = _info_of(call.trailing_metadata())
    details = str(call.details() or "no details")
    if info is None:
        return None if call.code() in _BROKEN else NodelinkError(f"the server failed to answer: {details}")
    if info.reason in _PASSING or (info.reason == ErrorCode.CONFLICT and _GOES_ON in details):
        return None
    kind = _REFUSALS.get(info.reason)
    if kind is NotBuilt:
        return NotBuilt(message=details)
    return kind(details) if kind is not None else InvalidTask(message=details)


_GOES_ON = "the upload goes on at"
"""Where it goes on is another place while a stream that is broken for us is still being taken in."""


def _info_of(trailing: Any) -> error_details_pb2.ErrorInfo | None:
    for key, value in trailing or ():
        if key == _DETAILS and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return None
            for packed in status.details:
                info = error_details_pb2.ErrorInfo()
                if packed.Unpack(info) and info.domain == "nodelink":
                    return info
    return None


def _state_of(pb: data_pb2.WorkspaceState) -> StateRef:
    return StateRef(version=pb.version, etag=pb.etag, sha256=pb.sha256, size=pb.size)
