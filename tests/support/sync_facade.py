"""An asynchronous servicer for grpcio-testing, which knows only synchronous ones: given one of the other kind, it takes
the coroutine for the answer and says that all is well.

Each call runs in an event loop of its own, in the thread that grpcio-testing gives it, and through the same interceptor
as on a real server: so its bytes are read, its errors become a status, and the details of that status are in the
trailing metadata. Whatever the servicer needs is opened for each call, in its loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from nodelink_server.rpc.interceptors import EveryCall

WAIT_SECONDS = 60.0
EOF: Any = vars(grpc.aio)["EOF"]

Handlers = Mapping[str, Any]
Opened = Callable[[], AbstractAsyncContextManager[Handlers]]


def handlers_of(add_to_server: Callable[[Any, Any], None], servicer: Any) -> Handlers:
    """What a servicer would register with a server: the handler of each call, by its name."""
    registered: dict[str, Any] = {}
    server = SimpleNamespace(
        add_generic_rpc_handlers=lambda _handlers: None,
        add_registered_method_handlers=lambda _service, handlers: registered.update(handlers),
    )
    add_to_server(servicer, server)
    return registered


def sync_facade(service: ServiceDescriptor, opened: Opened) -> Any:
    """A synchronous servicer that answers as the handlers do which `opened` gives to each call."""
    return SimpleNamespace(**{name: _behaviour(method, opened) for name, method in service.methods_by_name.items()})


def _behaviour(method: MethodDescriptor, opened: Opened) -> Callable[[Any, Any], Any]:
    def call_of(given: Any, context: Any) -> _Call:
        return _Call(method, opened, given if method.client_streaming else [given], context)

    def unary(given: Any, context: Any) -> Message | None:
        return next(call_of(given, context).answers(), None)

    def stream(given: Any, context: Any) -> Iterator[Message]:
        return call_of(given, context).answers()

    return stream if method.server_streaming else unary


class _Call:
    """One call, in a loop and a thread of its own."""

    def __init__(self, method: MethodDescriptor, opened: Opened, requests: Iterable[Message], context: Any) -> None:
        self._method = method
        self._opened = opened
        self._requests = requests
        self._context = context
        self._answers: queue.Queue[Message | BaseException | None] = queue.Queue()

    def answers(self) -> Iterator[Message]:
        """What the handler answers. Raises what escapes it."""
        threading.Thread(target=self._run, daemon=True).start()
        while (answer := self._answers.get(timeout=WAIT_SECONDS)) is not None:
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
            self._answers.put(None)
        except asyncio.CancelledError:  # nobody waits for an answer
            self._answers.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is being answered
            self._answers.put(error)

    async def _serve(self) -> None:
        self._end_with_the_call()
        async with self._opened() as handlers:
            handler: Any = await EveryCall().intercept_service(self._find(handlers), self._details())
            context = _AioContext(self._context, self._arriving(), handler, self._tell)
            with suppress(grpc.aio.AbortError):  # its status is set
                if handler.response_streaming:
                    await handler.stream_stream(context.messages(), context)
                else:
                    self._tell(await handler.stream_unary(context.messages(), context))

    def _find(self, handlers: Handlers) -> Any:
        async def find(_details: object) -> Any:
            return handlers.get(self._method.name)

        return find

    def _details(self) -> Any:
        service = self._method.containing_service
        assert service is not None
        metadata = self._context.invocation_metadata()
        return SimpleNamespace(method=f"/{service.full_name}/{self._method.name}", invocation_metadata=metadata)

    def _tell(self, raw: bytes) -> None:
        self._answers.put(GetMessageClass(self._method.output_type).FromString(raw))

    def _arriving(self) -> asyncio.Queue[bytes | None]:
        """The requests as they come, then None. They are awaited in a thread that nobody has to wait for."""
        loop, arriving = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()

        def read() -> None:
            with suppress(RuntimeError, grpc.RpcError):  # the loop has ended, or the call
                for request in self._requests:
                    loop.call_soon_threadsafe(arriving.put_nowait, request.SerializeToString())
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(arriving.put_nowait, None)

        threading.Thread(target=read, daemon=True).start()
        return arriving

    def _end_with_the_call(self) -> None:
        """Have the handler cancelled when its caller is gone, or its time is up."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            with suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(task.cancel)

        self._context.add_callback(cancel)


class _AioContext:
    """The part of an asynchronous context that handlers use, over a synchronous one."""

    def __init__(
        self, context: Any, arriving: asyncio.Queue[bytes | None], handler: Any, tell: Callable[[bytes], None]
    ) -> None:
        self._context = context
        self._arriving = arriving
        self._deserialize = handler.request_deserializer or bytes
        self._serialize = handler.response_serializer or bytes
        self._tell = tell
        self.invocation_metadata = context.invocation_metadata
        self.set_trailing_metadata = context.set_trailing_metadata
        self.time_remaining = context.time_remaining

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Send what goes before the first answer."""
        self._context.send_initial_metadata(metadata)

    async def read(self) -> Any:
        """The next request, or EOF."""
        raw = await self._arriving.get()
        return EOF if raw is None else self._deserialize(raw)

    async def messages(self) -> AsyncIterator[Any]:
        """The requests that are left."""
        while (message := await self.read()) is not EOF:
            yield message

    async def write(self, message: Any) -> None:
        """Send one answer."""
        self._tell(self._serialize(message))

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """End the call with a status, trailing metadata included. Raises `AbortError`."""
        self._context.set_trailing_metadata(trailing_metadata)
        self._context.set_code(code)
        self._context.set_details(details)
        raise grpc.aio.AbortError
