"""An error as callers over gRPC see it: the one table from our codes to gRPC's, and the `google.rpc.Status`.

The status carries `ErrorInfo` (reason = our code, domain = `nodelink`, metadata = the request's id), and, where they
apply, `BadRequest` with the fields that are wrong, `RetryInfo`, `ResourceInfo` and `PreconditionFailure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from nodelink.errors import (
    AgentNotFound,
    BlobConflict,
    BlobNotFound,
    CheckpointNotFound,
    ErrorCode,
    HandshakeRefused,
    InvalidTask,
    NodelinkError,
    ServerNotEmpty,
    TaskNotFound,
    TaskNotInDoubt,
    WorkspaceConflict,
    WorkspaceNotFound,
)

DOMAIN = "nodelink"
LONGEST_MESSAGE = 1_000
LONGEST_DESCRIPTION = 300
MOST_VIOLATIONS = 10
MOST_HEADER_BYTES = 7_000
"""What a status may take up in the trailing metadata. Peers drop a call whose metadata is larger than 8 KiB."""

WRONG_STATUS = "STATUS"
"""The type of a precondition that a task's status does not meet."""

LAST_SESSION_KEY = "nodelink-last-session"
"""Trailing metadata of a refused hello: the number that the next session's must exceed."""

RETRY_AFTER_KEY = "nodelink-retry-after-ms"
"""Trailing metadata of what may help another time: after how many milliseconds, as in `RetryInfo`."""

STATUS_CODES: Mapping[ErrorCode, grpc.StatusCode] = {
    ErrorCode.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.NOT_BUILT: grpc.StatusCode.UNIMPLEMENTED,
    ErrorCode.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorCode.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.NOT_FINISHED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.ALREADY_FINISHED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.CANNOT_EXTEND: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.PLAN_NOT_WAITING: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.PLAN_CHANGED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.IDEMPOTENCY_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    ErrorCode.UNIQUE_KEY_TAKEN: grpc.StatusCode.ALREADY_EXISTS,
    ErrorCode.DIGEST_MISMATCH: grpc.StatusCode.DATA_LOSS,
    ErrorCode.QUOTA_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.PRECONDITION_FAILED: grpc.StatusCode.ABORTED,
    ErrorCode.PRECONDITION_REQUIRED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorCode.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    ErrorCode.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.NO_AGENT: grpc.StatusCode.UNAVAILABLE,
    ErrorCode.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorCode.HANDSHAKE_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.SESSION_REPLACED: grpc.StatusCode.ABORTED,
    ErrorCode.INTERNAL: grpc.StatusCode.INTERNAL,
}
"""Our codes in gRPC's language."""

RESOURCES: Mapping[type[NodelinkError], str] = {
    TaskNotFound: "task",
    AgentNotFound: "agent",
    WorkspaceNotFound: "workspace",
    WorkspaceConflict: "workspace",
    BlobNotFound: "blob",
    BlobConflict: "blob",
    CheckpointNotFound: "checkpoint",
    ServerNotEmpty: "checkpoint",
}
"""What an error is about that has its code in common with others."""


def rich_status(error: NodelinkError, request_id: str = "") -> status_pb2.Status:
    """An error as callers see it, with as much of its text as metadata can hold."""
    status = _status(error, request_id, share=1)
    for share in (2, 4, 8, 16):
        if _header_bytes(status) <= MOST_HEADER_BYTES:
            break
        status = _status(error, request_id, share=share)
    return status


def own_metadata(error: NodelinkError) -> tuple[tuple[str, str], ...]:
    """What goes beside the status, for those errors that tell their peer more."""
    if isinstance(error, HandshakeRefused) and error.last_session is not None:
        return ((LAST_SESSION_KEY, str(error.last_session)),)
    if error.retry_after is not None:
        return ((RETRY_AFTER_KEY, str(round(error.retry_after * 1000))),)
    return ()


def _status(error: NodelinkError, request_id: str, *, share: int) -> status_pb2.Status:
    code: int = STATUS_CODES[error.code].value[0]
    details = map(_packed, _details(error, request_id, share))
    return status_pb2.Status(code=code, message=error.message[: LONGEST_MESSAGE // share], details=details)


def _details(error: NodelinkError, request_id: str, share: int) -> Iterator[Message]:
    about = {"request_id": request_id} if request_id else {}
    yield error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata=about)
    if isinstance(error, InvalidTask) and error.errors:
        yield _bad_request(error, share)
    if error.retry_after is not None:
        yield _retry_info(error.retry_after)
    kind = next((kind for cls, kind in RESOURCES.items() if isinstance(error, cls)), "")
    if kind:
        text = error.message[: LONGEST_DESCRIPTION // share]
        yield error_details_pb2.ResourceInfo(resource_type=kind, description=text)
    if isinstance(error, TaskNotInDoubt):
        yield _precondition(error, share)


def _bad_request(error: InvalidTask, share: int) -> error_details_pb2.BadRequest:
    message = error_details_pb2.BadRequest()
    for wrong in error.errors[: max(1, MOST_VIOLATIONS // share)]:
        message.field_violations.add(field=wrong.field, description=wrong.message[: LONGEST_DESCRIPTION // share])
    return message


def _precondition(error: TaskNotInDoubt, share: int) -> error_details_pb2.PreconditionFailure:
    message = error_details_pb2.PreconditionFailure()
    message.violations.add(type=WRONG_STATUS, subject="task", description=error.message[: LONGEST_DESCRIPTION // share])
    return message


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    message = error_details_pb2.RetryInfo()
    message.retry_delay.FromMilliseconds(round(seconds * 1000))
    return message


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _header_bytes(status: status_pb2.Status) -> int:
    """What it takes up: the message in percent-encoding, and the whole once more in base64."""
    return len(quote(status.message)) + status.ByteSize() * 4 // 3
