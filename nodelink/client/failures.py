"""From a failed call to one of our errors: the table from gRPC's language back to ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from nodelink.errors import (
    AgentNotFound,
    BlobConflict,
    BlobNotFound,
    CannotExtend,
    CheckpointNotFound,
    DigestMismatch,
    ErrorCode,
    FieldError,
    HandshakeRefused,
    IdempotencyConflict,
    InvalidTask,
    LinkLost,
    Malformed,
    NoAgent,
    NodelinkError,
    NotAllowed,
    NotAuthenticated,
    NotBuilt,
    Overloaded,
    PlanChanged,
    PlanNotWaiting,
    QuotaExceeded,
    ServerNotEmpty,
    SessionReplaced,
    StateChanged,
    StateUnguarded,
    StoreConflict,
    StoreUnavailable,
    TaskAlreadyFinished,
    TaskNotFinished,
    TaskNotFound,
    TaskNotInDoubt,
    TooLarge,
    UniqueKeyTaken,
    WorkspaceConflict,
    WorkspaceNotFound,
)

DOMAIN = "nodelink"
DETAILS_KEY = "grpc-status-details-bin"

CLASSES: Mapping[str, type[NodelinkError]] = {
    ErrorCode.MALFORMED: Malformed,
    ErrorCode.INVALID: InvalidTask,
    ErrorCode.NOT_BUILT: NotBuilt,
    ErrorCode.TOO_LARGE: TooLarge,
    ErrorCode.NOT_FOUND: TaskNotFound,
    ErrorCode.CONFLICT: StoreConflict,
    ErrorCode.NOT_FINISHED: TaskNotFinished,
    ErrorCode.ALREADY_FINISHED: TaskAlreadyFinished,
    ErrorCode.CANNOT_EXTEND: CannotExtend,
    ErrorCode.PLAN_NOT_WAITING: PlanNotWaiting,
    ErrorCode.PLAN_CHANGED: PlanChanged,
    ErrorCode.IDEMPOTENCY_CONFLICT: IdempotencyConflict,
    ErrorCode.UNIQUE_KEY_TAKEN: UniqueKeyTaken,
    ErrorCode.DIGEST_MISMATCH: DigestMismatch,
    ErrorCode.QUOTA_EXCEEDED: QuotaExceeded,
    ErrorCode.PRECONDITION_FAILED: StateChanged,
    ErrorCode.PRECONDITION_REQUIRED: StateUnguarded,
    ErrorCode.UNAUTHENTICATED: NotAuthenticated,
    ErrorCode.FORBIDDEN: NotAllowed,
    ErrorCode.OVERLOADED: Overloaded,
    ErrorCode.NO_AGENT: NoAgent,
    ErrorCode.UNAVAILABLE: StoreUnavailable,
    ErrorCode.HANDSHAKE_REFUSED: HandshakeRefused,
    ErrorCode.SESSION_REPLACED: SessionReplaced,
    ErrorCode.INTERNAL: NodelinkError,
}
"""Our errors by code. `NOT_FOUND` is an agent's, and `CONFLICT` one of a task's status, where the answer says so."""

_BY_RESOURCE: Mapping[tuple[str, str], type[NodelinkError]] = {
    (ErrorCode.NOT_FOUND, "agent"): AgentNotFound,
    (ErrorCode.NOT_FOUND, "workspace"): WorkspaceNotFound,
    (ErrorCode.CONFLICT, "workspace"): WorkspaceConflict,
    (ErrorCode.NOT_FOUND, "blob"): BlobNotFound,
    (ErrorCode.CONFLICT, "blob"): BlobConflict,
    (ErrorCode.NOT_FOUND, "checkpoint"): CheckpointNotFound,
    (ErrorCode.CONFLICT, "checkpoint"): ServerNotEmpty,
}
"""Those whose code is also another's, by what the answer says that they are about."""

_GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}

_Detail = TypeVar("_Detail", bound=Message)


def error_of(error: grpc.RpcError, server: str) -> NodelinkError:
    """What a failed call means. Without a word from the server itself, it is the way to the server that failed."""
    call: Any = error
    status = _status_of(call.trailing_metadata())
    reason = _detail(status, error_details_pb2.ErrorInfo) if status else None
    if status is None or reason is None or reason.domain != DOMAIN:
        return _foreign(call.code(), call.details() or "", server)
    fault = _fault(_class_of(reason.reason, status), status.message, _violations(status))
    retry = _detail(status, error_details_pb2.RetryInfo)
    if retry is not None:
        fault.retry_after = retry.retry_delay.ToMilliseconds() / 1000
    fault.request_id = reason.metadata["request_id"]
    return fault


def refusal_of(code: str, message: str, field: str) -> NodelinkError:
    """Why one submission of many was refused."""
    return _fault(CLASSES.get(code, NodelinkError), message, [FieldError(field, message)] if field else [])


def _class_of(code: str, status: status_pb2.Status) -> type[NodelinkError]:
    resource = _detail(status, error_details_pb2.ResourceInfo)
    if resource is not None and (code, resource.resource_type) in _BY_RESOURCE:
        return _BY_RESOURCE[code, resource.resource_type]
    if code == ErrorCode.CONFLICT and _detail(status, error_details_pb2.PreconditionFailure):
        return TaskNotInDoubt
    return CLASSES.get(code, NodelinkError)


def _fault(cls: type[NodelinkError], message: str, errors: Iterable[FieldError]) -> NodelinkError:
    if issubclass(cls, InvalidTask):
        return cls(*errors, message=message)
    return cls(message)


def _foreign(code: grpc.StatusCode, details: str, server: str) -> NodelinkError:
    if code in _GONE:
        return LinkLost(f"cannot reach the server at {server}: {details}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return LinkLost(f"the server at {server} did not answer in time")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotBuilt(message=f"the server at {server} does not know this call: {details}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return TooLarge(message=details)
    return NodelinkError(f"the server at {server} failed to answer ({code.name}): {details}")


def _status_of(trailing: Iterable[tuple[str, str | bytes]] | None) -> status_pb2.Status | None:
    for key, value in trailing or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _detail(status: status_pb2.Status, kind: type[_Detail]) -> _Detail | None:
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def _violations(status: status_pb2.Status) -> list[FieldError]:
    bad = _detail(status, error_details_pb2.BadRequest)
    return [FieldError(wrong.field, wrong.description) for wrong in bad.field_violations] if bad else []
