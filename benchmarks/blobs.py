"""`python -m benchmarks --blobs`: a large file up and down through a link that is cut again and again, and what memory
that takes on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.system import server

MIB = 1 << 20
PUMP_BYTES = 256 << 10


class CutLink:
    """Forwards connections, and cuts them all each time that so many bytes have gone through."""

    def __init__(self, target: str, *, every: int) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._every = self._left = every
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0
        self.passed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Forward for as long as this lasts; gives the address."""
        listening = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        try:
            yield "127.0.0.1:" + str(listening.sockets[0].getsockname()[1])
        finally:
            listening.close()
            self._cut()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(PUMP_BYTES):
                self._count(len(data))
                writer.write(data)
                await writer.drain()
        writer.close()

    def _count(self, size: int) -> None:
        self.passed += size
        self._left -= size
        if self._left <= 0:
            self._left = self._every
            self.cuts += 1
            self._cut()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One way of the file. Memory in MiB: the most that the client took, and the server until then."""

    seconds: float
    cuts: int
    passed: int
    client: float
    server: float


async def measure(directory: Path, *, size: int, every: int) -> tuple[float, float, Carried, Carried]:
    """What an idle client and server take, and both ways."""
    source, copy = directory / "source", directory / "copy"
    await asyncio.to_thread(_fill, source, size)
    async with server(directory) as (address, process):
        idle_server = _most_memory(process.pid)
        (directory / "small").write_bytes(b"small")
        _, idle_client = await _nodelink(address, "artifacts", "upload", str(directory / "small"))
        up = await _carried(address, process.pid, every, "artifacts", "upload", str(source), "-o", "id")
        sha256 = await asyncio.to_thread(_sha256, source)
        down = await _carried(address, process.pid, every, "artifacts", "download", sha256, str(copy))
    if await asyncio.to_thread(_sha256, copy) != sha256:
        raise SystemExit("what came down is not what went up")
    return idle_client, idle_server, up, down


async def _carried(address: str, server_pid: int, every: int, *arguments: str) -> Carried:
    link = CutLink(address, every=every)
    async with link.open() as behind:
        seconds, client = await _nodelink(behind, *arguments)
    return Carried(seconds=seconds, cuts=link.cuts, passed=link.passed, client=client, server=_most_memory(server_pid))


async def _nodelink(address: str, *arguments: str) -> tuple[float, float]:
    """Run a command: its seconds, and the most memory that it took, in MiB."""
    command = [sys.executable, "-m", "nodelink.cli", *arguments, "--server", address]
    began = time.perf_counter()
    status, memory = await asyncio.to_thread(_run, command)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed: {status}")
    return time.perf_counter() - began, memory


def _run(command: list[str]) -> tuple[int, float]:
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_maxrss / 1024


def _most_memory(pid: int) -> float:
    """The most memory that a process has taken, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"nothing is known of the memory of process {pid}")


def _fill(path: Path, size: int) -> None:
    piece = os.urandom(MIB - 8)
    with path.open("wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "big") + piece)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks --blobs", description=__doc__)
    parser.add_argument("--mib", type=int, default=2_048)
    parser.add_argument("--cut-every-mib", type=int, default=250)
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        idle_client, idle_server, up, down = asyncio.run(
            measure(Path(directory), size=given.mib * MIB, every=given.cut_every_mib * MIB)
        )
    sys.stdout.write(f"at rest     client {idle_client:,.0f} MiB, server {idle_server:,.0f} MiB\n")
    for way, one in (("up", up), ("down", down)):
        rate = given.mib / one.seconds
        sys.stdout.write(
            f"{way:<10}  {given.mib:,} MiB in {one.seconds:.1f} s ({rate:,.0f} MiB/s), {one.cuts} cuts,"
            f" {one.passed / MIB:,.0f} MiB through the link; most memory: client {one.client:,.0f} MiB,"
            f" server {one.server:,.0f} MiB\n"
        )
    return 0
