"""The limits of this machine, beside which NodeLink is measured: a bare gRPC stream, and the disk's fdatasync."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from nodelink.v1 import agent_pb2

SERVICE = "nodelink.benchmarks.Raw"
OPTIONS = (("grpc.so_reuseport", 0), ("grpc.use_local_subchannel_pool", 1))
PAYLOAD = b'{"text": "sixty-four bytes of payload, as the goals are given."}'


async def _echo(request_iterator: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    """Answer each frame with one of as many items: what any server must do at least."""
    while True:
        received = await context.read()
        if not isinstance(received, bytes):
            return
        frame, answer = agent_pb2.ConnectResponse.FromString(received), agent_pb2.ConnectRequest()
        for task in frame.tasks:
            response = answer.responses.add()
            response.ref.task_id = task.ref.task_id
            response.finished.output = task.spec
        await context.write(answer.SerializeToString())


async def serve() -> None:
    """Run the bare server; its port is the first line on stdout."""
    server = grpc.aio.server(options=OPTIONS)
    handlers = {"Echo": grpc.stream_stream_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


@asynccontextmanager
async def bare_stream() -> AsyncIterator[grpc.aio.StreamStreamCall[bytes, bytes]]:
    """A stream to a bare server in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.raw", stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            echo: Any = channel.stream_stream  # its types do not know that raw bytes need no serializer
            call = echo(f"/{SERVICE}/Echo")()
            yield call
            call.cancel()
    finally:
        process.kill()
        await process.wait()


def _frame(items: int) -> bytes:
    frame = agent_pb2.ConnectResponse()
    for number in range(items):
        task = frame.tasks.add()
        task.ref.task_id = f"01900000-0000-7000-8000-{number:012d}"
        task.spec = PAYLOAD
    return frame.SerializeToString()


async def items_per_second(call: grpc.aio.StreamStreamCall[bytes, bytes], *, items: int, per_frame: int) -> float:
    """How many items go there and back in a second, some frames always under way."""
    frames, under_way = items // per_frame, asyncio.Semaphore(8)

    async def write() -> None:
        for _ in range(frames):
            await under_way.acquire()
            await call.write(_frame(per_frame))

    began = time.perf_counter()
    writing = asyncio.create_task(write())
    for _ in range(frames):
        answer = agent_pb2.ConnectRequest.FromString(await call.read())  # type: ignore[arg-type]
        for response in answer.responses:
            _ = response.finished.output
        under_way.release()
    await writing
    return frames * per_frame / (time.perf_counter() - began)


async def round_trips(call: grpc.aio.StreamStreamCall[bytes, bytes], count: int) -> list[float]:
    """Seconds there and back, one item at a time."""
    frame, times = _frame(1), []
    for _ in range(count):
        began = time.perf_counter()
        await call.write(frame)
        await call.read()
        times.append(time.perf_counter() - began)
    return times


def syncs(directory: Path, count: int) -> list[float]:
    """Seconds of writing 4 KiB at the end of a file and having them on disk."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(count):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    asyncio.run(serve())
