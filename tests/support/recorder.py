"""Stands between an agent and its server, hands every frame on as it is, and writes down what passed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from tests.support.frozen import CONNECT, Frame

EOF: Any = vars(grpc.aio)["EOF"]
OPTIONS = [("grpc.so_reuseport", 0), ("grpc.use_local_subchannel_pool", 1)]


class Recorder:
    """What has passed so far, in order."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._streams = 0
        self._open: set[asyncio.Task[None]] = set()
        self.frames: list[Frame] = []

    def cut(self) -> None:
        """Cut every stream, as a network does."""
        for task in self._open:
            task.cancel()

    async def connect(self, _requests: object, context: Any) -> None:
        """Carry one stream."""
        self._streams += 1
        carrying = asyncio.create_task(self._carry(self._streams, context))
        self._open.add(carrying)
        try:
            await asyncio.wait({carrying})
        finally:
            self._open.discard(carrying)
        if not carrying.cancelled():
            carrying.result()

    async def _carry(self, stream: int, context: Any) -> None:
        async with grpc.aio.insecure_channel(self._target, options=OPTIONS) as channel:
            connect: Any = channel.stream_stream(CONNECT, None, None)
            call = connect()
            ways = [
                asyncio.create_task(self._copy(stream, "agent", context, call)),
                asyncio.create_task(self._copy(stream, "server", call, context)),
            ]
            try:
                await ways[0]
                await call.done_writing()
                await ways[1]
            finally:
                call.cancel()
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _copy(self, stream: int, sender: str, source: Any, target: Any) -> None:
        while (content := await source.read()) is not EOF:
            self.frames.append(Frame(stream, sender, content))
            await target.write(content)


@asynccontextmanager
async def recording(target: str) -> AsyncIterator[tuple[Recorder, str]]:
    """A recorder before a server, and the address at which it listens."""
    recorder = Recorder(target)
    _, service, method = CONNECT.split("/")
    handler: Any = grpc.stream_stream_rpc_method_handler(recorder.connect)
    server = grpc.aio.server(options=OPTIONS[:1])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield recorder, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
