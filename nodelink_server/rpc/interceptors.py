"""What every call passes before its handler, in this one place: it is named, its messages are read and written within
their limits, and whatever goes wrong leaves as a `google.rpc.Status`.

A request's id comes from its metadata or is made here. It returns in the initial metadata of a stream and in the
trailing metadata of every call, it is in every line of the log, and in the `ErrorInfo` of an error. What was not
expected is logged, and the caller learns nothing of our insides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn, cast

import grpc
import structlog
from grpc_status import rpc_status

from nodelink.errors import Malformed, NodelinkError, NotBuilt
from nodelink.request_id import REQUEST_ID_KEY, request_id_or_new
from nodelink_server.rpc.messages import Read, Write, reader, writer
from nodelink_server.rpc.statuses import own_metadata, rich_status

LONGEST_NAME = 200

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Any]

log = structlog.get_logger(__name__)


class EveryCall(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Runs every handler of the server, and answers the calls that have none."""

    def __init__(self) -> None:
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        """The handlers that there are, each guarded once for all its calls."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler, guarded."""
        method = str(handler_call_details.method)
        known = self._guarded.get(method)
        if known is not None:
            return known
        handler: Any = await continuation(handler_call_details)
        guarded = cast("grpc.RpcMethodHandler[Any, Any]", _guarded(method, handler or _unknown(method)))
        if handler is not None:  # callers choose the names of the others
            self._guarded[method] = guarded
        return guarded


def metadata_of(context: Context, wanted: str) -> str:
    """One text of a call's metadata; empty: it is not there, or not a text."""
    for key, value in context.invocation_metadata() or ():
        if key == wanted and isinstance(value, str):
            return value
    return ""


def _unknown(method: str) -> Any:
    """Answers a call that nobody serves, whatever its shape is with the caller."""

    async def refuse(_requests: object, _context: Context) -> None:
        raise NotBuilt(message=f"there is no call {method[:LONGEST_NAME]}")

    return grpc.stream_stream_rpc_method_handler(cast("Any", refuse), bytes, bytes)


def _guarded(method: str, handler: Any) -> Any:
    """The handler as one that reads its request by itself.

    Else gRPC would answer bytes that are no message in its own words, and a request that never comes not at all.
    """
    read, write = reader(handler.request_deserializer), writer(handler.response_serializer)
    behaviour: Behaviour
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            behaviour = _guard_unary(method, _reading_first(handler.unary_unary, read), write)
            return grpc.stream_unary_rpc_method_handler(behaviour, None, None)
        case True, False:
            behaviour = _guard_unary(method, handler.stream_unary, write)
            return grpc.stream_unary_rpc_method_handler(behaviour, read, None)
        case False, True:
            behaviour = _guard_stream(method, _reading_first(handler.unary_stream, read))
            return grpc.stream_stream_rpc_method_handler(behaviour, None, write)
        case _:
            behaviour = _guard_stream(method, handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(behaviour, read, write)


def _reading_first(behaviour: Behaviour, read: Read) -> Callable[[Any, Context], Awaitable[Any]]:
    """A handler of one request as one of a stream of them."""

    async def with_first(_requests: object, context: Context) -> Any:
        raw = await context.read()
        if not isinstance(raw, bytes):
            raise Malformed("the call ended before its request came")
        answer = behaviour(read(raw), context)
        return answer if isinstance(answer, AsyncIterator) else await answer

    return with_first


def _guard_unary(method: str, behaviour: Behaviour, write: Write) -> Callable[[Any, Context], Awaitable[bytes]]:
    async def guarded(request: Any, context: Context) -> bytes:
        request_id = _name(context)
        try:
            return write(await behaviour(request, context))
        except Exception as error:  # noqa: BLE001 - the top of every call: whatever it is, it becomes an answer
            await _abort(method, error, context, request_id)

    return guarded


def _guard_stream(method: str, behaviour: Behaviour) -> Callable[[Any, Context], Awaitable[None]]:
    """The answers are either yielded, or written by the handler itself."""

    async def guarded(request: Any, context: Context) -> None:
        request_id = _name(context)
        try:
            await context.send_initial_metadata(((REQUEST_ID_KEY, request_id),))
            answers = behaviour(request, context)
            if not isinstance(answers, AsyncIterator):
                answers = await answers
            if answers is not None:
                await _write_all(answers, context)
        except Exception as error:  # noqa: BLE001 - the top of every call: whatever it is, it becomes an answer
            await _abort(method, error, context, request_id)

    return guarded


def _name(context: Context) -> str:
    """Give a call its id, in its answer and in the log: each call has a task, and so a context, of its own."""
    request_id = request_id_or_new(metadata_of(context, REQUEST_ID_KEY))
    context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


async def _write_all(answers: Any, context: Context) -> None:
    async with aclosing(answers):  # the handler's clean-up is done before the call ends
        async for answer in answers:
            await context.write(answer)


async def _abort(method: str, error: Exception, context: Context, request_id: str) -> NoReturn:
    if isinstance(error, grpc.aio.BaseError):  # the handler has answered by itself, or the caller is gone
        raise error
    if not isinstance(error, NodelinkError):
        log.error("request_failed", method=method, exc_info=error)
        error = NodelinkError("the server failed to answer; its log says why")
    status = rpc_status.to_status(rich_status(error, request_id))
    trailing = (*status.trailing_metadata, (REQUEST_ID_KEY, request_id), *own_metadata(error))
    await context.abort(status.code, status.details, trailing)
