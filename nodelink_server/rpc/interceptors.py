"""Errors on their way out: what a handler raises becomes a `google.rpc.Status`, in this one place.

The status carries `ErrorInfo` (reason = our code, domain = `nodelink`), and, where they apply, `BadRequest` with the
fields that are wrong, `RetryInfo` and `ResourceInfo`. What was not expected is logged, and the caller learns nothing of
our insides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, cast

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from nodelink.errors import (
    AgentNotFound,
    ErrorCode,
    HandshakeRefused,
    InvalidTask,
    Malformed,
    NodelinkError,
    TaskNotFound,
)

DOMAIN = "nodelink"
LONGEST_MESSAGE = 1_000
LONGEST_DESCRIPTION = 300
MOST_VIOLATIONS = 10
LAST_SESSION_KEY = "nodelink-last-session"
"""Trailing metadata of a refused hello: the number that the next session's must exceed."""

STATUS_CODES: Mapping[ErrorCode, grpc.StatusCode] = {
    ErrorCode.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.NOT_BUILT: grpc.StatusCode.UNIMPLEMENTED,
    ErrorCode.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorCode.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.NOT_FINISHED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.ALREADY_FINISHED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.IDEMPOTENCY_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
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

_SHAPE = {False: "unary", True: "stream"}

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger(__name__)


def rich_status(error: NodelinkError) -> status_pb2.Status:
    """An error as callers see it."""
    code: int = STATUS_CODES[error.code].value[0]
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN)]
    if isinstance(error, InvalidTask) and error.errors:
        details.append(_bad_request(error))
    if error.retry_after is not None:
        details.append(_retry_info(error.retry_after))
    if isinstance(error, TaskNotFound | AgentNotFound):
        kind = "task" if isinstance(error, TaskNotFound) else "agent"
        text = error.message[:LONGEST_DESCRIPTION]
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, description=text))
    return status_pb2.Status(code=code, message=error.message[:LONGEST_MESSAGE], details=map(_packed, details))


class ErrorsToStatus(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Runs every handler of the server so that what it raises leaves as a status."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler, guarded. None (no such method) stays None, which gRPC answers by itself."""
        handler: Any = await continuation(handler_call_details)
        if handler is not None:
            handler = _guarded(str(handler_call_details.method), handler)
        return cast("grpc.RpcMethodHandler[Any, Any]", handler)


def _guarded(method: str, handler: Any) -> Any:
    shape = f"{_SHAPE[handler.request_streaming]}_{_SHAPE[handler.response_streaming]}"
    guard = _guard_stream if handler.response_streaming else _guard_unary
    make: Any = getattr(grpc, f"{shape}_rpc_method_handler")
    behaviour, read = getattr(handler, shape), _reader(handler.request_deserializer)
    if handler.request_streaming:
        return make(guard(method, behaviour), read, handler.response_serializer)

    def read_first(request: bytes, context: Context) -> Any:
        return behaviour(read(request), context)

    return make(guard(method, read_first), None, handler.response_serializer)  # or gRPC would answer what is malformed


def _reader(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Read a message, or raise our own error for bytes that are none."""

    def read(request: bytes) -> Any:
        try:
            return deserialize(request)
        except DecodeError as error:
            raise Malformed("the request is not a message of this call's type") from error

    return read


def _guard_unary(
    method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001 - the top of every call: whatever it is, it becomes an answer
            await _abort(method, error, context)

    return guarded


def _guard_stream(method: str, behaviour: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Awaitable[None]]:
    """The answers are either yielded, or written by the handler itself."""

    async def guarded(request: Any, context: Context) -> None:
        try:
            answers = behaviour(request, context)
            if isinstance(answers, AsyncIterator):
                await _write_all(answers, context)
            else:
                await answers
        except Exception as error:  # noqa: BLE001 - the top of every call: whatever it is, it becomes an answer
            await _abort(method, error, context)

    return guarded


async def _write_all(answers: Any, context: Context) -> None:
    async with aclosing(answers):  # the handler's clean-up is done before the call ends
        async for answer in answers:
            await context.write(answer)


async def _abort(method: str, error: Exception, context: Context) -> NoReturn:
    if isinstance(error, grpc.aio.BaseError):  # the handler has answered by itself, or the caller is gone
        raise error
    if not isinstance(error, NodelinkError):
        log.error("request_failed", method=method, exc_info=error)
        error = NodelinkError("the server failed to answer; its log says why")
    status = rpc_status.to_status(rich_status(error))
    await context.abort(status.code, status.details, (*status.trailing_metadata, *_own_metadata(error)))


def _own_metadata(error: NodelinkError) -> tuple[tuple[str, str], ...]:
    if isinstance(error, HandshakeRefused) and error.last_session is not None:
        return ((LAST_SESSION_KEY, str(error.last_session)),)
    return ()


def _bad_request(error: InvalidTask) -> error_details_pb2.BadRequest:
    message = error_details_pb2.BadRequest()
    for wrong in error.errors[:MOST_VIOLATIONS]:
        message.field_violations.add(field=wrong.field, description=wrong.message[:LONGEST_DESCRIPTION])
    return message


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    message = error_details_pb2.RetryInfo()
    message.retry_delay.FromMilliseconds(round(seconds * 1000))
    return message


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
