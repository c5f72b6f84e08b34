"""Freezes today's protocol for the tests of those to come: python -m tests.support.freeze NUMBER.

Written are the descriptors of its messages, and what a real agent and a real server said to each other in a story.
Freeze a protocol when it is published, and never again.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from nodelink.v1 import agent_pb2
from tests.support.frozen import PLACE, Frame, written
from tests.support.latch import Latch
from tests.support.processes import ROOT, Server, services_in, until
from tests.support.recorder import Recorder, recording
from tests.support.rest import Rest

ELSEWHERE = Path("/tmp")


def write_descriptors(path: Path) -> None:
    """The protocol files and all that they import, without comments."""
    protos = ROOT / "protos"
    arguments = ["protoc", f"--proto_path={protos}", f"--proto_path={files('grpc_tools') / '_proto'}"]
    arguments += sorted(str(file) for file in protos.rglob("*.proto"))
    arguments += ["--include_imports", f"--descriptor_set_out={path}"]
    if protoc.main(arguments) != 0:  # type: ignore[no-untyped-call]
        raise SystemExit("the protocol files cannot be read")
    assert FileDescriptorSet.FromString(path.read_bytes()).file


async def record(directory: Path) -> Recorder:
    """Results, output, a failure, a stop, a stream that is cut in the middle, and a goodbye."""
    async with services_in(directory) as services:
        server = await services.server("--heartbeat", "200ms")
        async with recording(server.grpc) as (recorder, address):
            behind = Server(server._process, server.data_dir, {"grpc": address, "http": server.http})
            agent = await services.agent(behind, slots=3)
            async with Rest(server) as rest:
                await rest.online()
                await _play(rest, recorder, Latch(directory / "latch"))
            agent.terminate()
            await agent.ended()
    return recorder


async def _play(rest: Rest, recorder: Recorder, latch: Latch) -> None:
    await rest.results(await rest.echo(2))
    await rest.result(await rest.shell("echo out; echo err >&2; exit 3"))
    endless = await rest.shell("echo up; exec sleep 600")
    await rest.printed(endless, "up")
    await rest.cancel(endless, grace="100ms")
    await rest.result(endless)
    running = await rest.shell(f"echo begun; {{ read go < {latch.path}; }} 2> /dev/null")
    await rest.printed(running, "begun")
    await until(lambda: any(map(_lists_an_attempt, recorder.frames)) or None, "a heartbeat that lists an attempt")
    recorder.cut()
    latch.release(1)
    await rest.result(running)
    latch.close()


def main() -> None:
    """Write the files of one protocol."""
    place = PLACE / f"protocol_{int(sys.argv[1])}"
    place.mkdir(parents=True)
    write_descriptors(place / "protocol.binpb")
    with tempfile.TemporaryDirectory(dir=ELSEWHERE) as directory:
        recorder = asyncio.run(record(Path(directory)))
    (place / "frames.jsonl").write_text("".join(written(_of_nowhere(frame)) + "\n" for frame in recorder.frames))


def _lists_an_attempt(frame: Frame) -> bool:
    return frame.sender == "agent" and bool(agent_pb2.ConnectRequest.FromString(frame.content).heartbeat.running)


def _of_nowhere(frame: Frame) -> Frame:
    """A frame that does not say on which machine it was recorded."""
    message = agent_pb2.ConnectRequest.FromString(frame.content) if frame.sender == "agent" else None
    if message is None or not message.HasField("hello"):
        return frame
    message.hello.host_id = "recorded"
    return frame._replace(content=message.SerializeToString())


if __name__ == "__main__":
    main()
