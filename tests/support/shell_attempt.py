"""One attempt at a shell task as its handler has it, with what it tells and prints."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodelink.plan import Plan
from nodelink.task import AttemptRef, Execution, Finished, LogStream, Progress, TaskRequest, TaskSpec
from nodelink_agent.blobs import OpenBlobs
from nodelink_agent.boottime import boottime
from nodelink_agent.context import AttemptContext
from nodelink_agent.deadlines import Deadlines
from nodelink_agent.handlers.registry import Ending, HandlerEntry
from nodelink_agent.output import Output
from tests.support.commands import PATIENCE


class Attempt:
    """One attempt at a shell task. Notes what its handler tells."""

    def __init__(
        self,
        entry: HandlerEntry,
        folder: Path,
        *,
        execution: Execution = Execution.ONCE,
        task_id: str = "",
        timeout_ms: int | None = None,
        heartbeat_timeout_ms: int | None = None,
        type: str = "shell",
        workspace: str = "",
        plan: Plan | None = None,
        open_blobs: OpenBlobs | None = None,
    ) -> None:
        self._entry = entry
        self._folder = folder
        self._grown = asyncio.Event()
        self._moved = asyncio.Event()
        self._lease_until: float | None = None
        self.task_id = task_id or str(uuid.uuid4())  # unlike any in another test run: trees are found by it
        self.containment: str | None = None
        self.context = self._context(
            TaskSpec(type=type, timeout_ms=timeout_ms, heartbeat_timeout_ms=heartbeat_timeout_ms, workspace=workspace),
            execution,
            plan,
            open_blobs,
        )

    async def run(self, **payload: Any) -> Finished:
        """Run it to its end, which is to be one."""
        ending = await self.run_to_any_end(**payload)
        assert isinstance(ending, Finished)
        return ending

    async def run_to_any_end(self, **payload: Any) -> Ending:
        """Run it until there is something to tell."""
        assert self._entry.run is not None
        async with asyncio.timeout(PATIENCE):
            return await self._entry.run(json.dumps(payload).encode(), self.context)

    async def resume(self, place: str) -> Ending:
        """Take up what an earlier process began."""
        assert self._entry.resume is not None
        async with asyncio.timeout(PATIENCE):
            return await self._entry.resume(place, self.context)

    async def until(self, condition: Callable[[AttemptContext], bool]) -> None:
        """Return when its handler has said so much of it."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self.context):
                self._moved.clear()
                await self._moved.wait()

    async def first_line(self) -> bytes:
        """What it prints until its first line is whole."""
        async with asyncio.timeout(PATIENCE):
            while b"\n" not in (text := self.text()):
                self._grown.clear()
                await self._grown.wait()
        return text.partition(b"\n")[0]

    def text(self, stream: LogStream = LogStream.STDOUT) -> bytes:
        """What it has printed."""
        piece = self.context.output.read(stream, 0, 1 << 20)
        assert isinstance(piece, bytes)
        return piece

    def started(self, ref: AttemptRef, *, at: float, containment: str = "") -> None:
        """It has begun."""
        self.containment = containment

    def progress(self, ref: AttemptRef, progress: Progress) -> None:
        """Commands report none."""

    def lease_until(self, ref: AttemptRef) -> float | None:
        """Until when it may run."""
        return self._lease_until

    def lease(self, seconds: float) -> None:
        """Give it a lease from now on. To be called before it runs."""
        self._lease_until = boottime() + seconds

    def _context(
        self, spec: TaskSpec, execution: Execution, plan: Plan | None, open_blobs: OpenBlobs | None
    ) -> AttemptContext:
        ref = AttemptRef(self.task_id, 2, 33)
        request = TaskRequest(ref=ref, spec=spec, payload=b"", execution=execution, plan=plan)
        return AttemptContext(
            request,
            deadlines=Deadlines(lambda _: None),
            teller=self,
            open_output=lambda ref: Output(
                self._folder / ref.task_id, self._grown.set, work=self._folder / f"{ref.task_id}.work"
            ),
            clock=boottime,
            moved=self._moved.set,
            open_blobs=open_blobs,
        )
