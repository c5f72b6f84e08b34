"""One task in front of a person: its output as it comes, why it waits, and what Ctrl-C does to it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from nodelink.cli.background import background
from nodelink.cli.exit_codes import Exit, code_of_result
from nodelink.cli.output import say
from nodelink.cli.progress import ProgressLine, show_progress
from nodelink.cli.screen import Screen
from nodelink.errors import NodelinkError, TaskAlreadyFinished
from nodelink.task import TaskStatus

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, Task, TaskResult

QUIET_SECONDS = 2.0
"""How long a task may wait before we say why."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Interrupts = asyncio.Queue[signal.Signals]


@asynccontextmanager
async def interrupts() -> AsyncIterator[Interrupts]:
    """Ctrl-C and SIGTERM as things that can be awaited, for as long as the context lasts."""
    loop = asyncio.get_running_loop()
    came: Interrupts = asyncio.Queue()
    for number in SIGNALS:
        loop.add_signal_handler(number, came.put_nowait, number)
    try:
        yield came
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


class Follower:
    """Follows one task to its end. The first interrupt cancels it, the second one leaves it alone."""

    def __init__(self, client: AsyncClient, screen: Screen, came: Interrupts, line: ProgressLine) -> None:
        self._client = client
        self._screen = screen
        self._came = came
        self._line = line

    async def run(self, task_id: str) -> int:
        """Show the task until it has ended. Returns our exit code."""
        async with background(self._say_why_it_waits(task_id)), background(self._to_the_end(task_id)) as ending:
            if not await self._interrupted_before(ending):
                return self._told(await ending)
            await self._cancel(task_id)
            say("cancelling; once more leaves it alone")
            if await self._interrupted_before(ending):
                say(f"left alone: {task_id} goes on by itself; `nodelink tasks get {task_id}` tells how it stands")
            else:
                await ending
            return Exit.INTERRUPTED

    async def _interrupted_before(self, ending: asyncio.Task[TaskResult]) -> bool:
        """Wait for an interrupt or the end. Returns whether the interrupt came first."""
        async with background(self._came.get()) as interrupt:
            await asyncio.wait({ending, interrupt}, return_when=asyncio.FIRST_COMPLETED)
            return not ending.done()

    async def _to_the_end(self, task_id: str) -> TaskResult:
        try:
            async with background(show_progress(self._client, task_id, self._line)):
                await self._show(task_id)
            self._line.clear()
        except BrokenPipeError:  # whoever read the output has gone, as a command's own reader goes
            await self._cancel(task_id)
            raise
        await self._client.wait(task_id)
        return await self._client.result(task_id)

    async def _show(self, task_id: str) -> None:
        complete = False
        async with aclosing(self._client.log_pages(task_id)) as pages:
            async for page in pages:
                if page.parts:
                    self._line.clear()
                self._screen.show(page.parts)
                complete = page.complete
        if not complete:
            say("some of the output did not arrive")

    async def _say_why_it_waits(self, task_id: str) -> None:
        await asyncio.sleep(QUIET_SECONDS)
        with suppress(NodelinkError):  # only a remark: whatever is wrong, the others tell
            task = await self._client.get(task_id)
            if task.status in {TaskStatus.PENDING, TaskStatus.SCHEDULED}:
                say(f"{task_id} is {task.status.value}: {await self._why(task)}")

    async def _why(self, task: Task) -> str:
        if task.status is TaskStatus.SCHEDULED or task.message:
            return task.message or "its time has not come"
        online = await self._client.agents(status="online", pool=task.spec.pool)
        if not online:
            return f"no agent of pool {task.spec.pool!r} is connected"
        able = [agent for agent in online if task.spec.type in agent.types]
        if not able:
            return f"no agent of pool {task.spec.pool!r} can run {task.spec.type!r}"
        slots = sum(agent.slots for agent in able)
        return f"all {slots} slots of pool {task.spec.pool!r} are taken"

    async def _cancel(self, task_id: str) -> None:
        with suppress(TaskAlreadyFinished):
            await self._client.cancel(task_id, reason="interrupted by the one who started it")

    @staticmethod
    def _told(result: TaskResult) -> int:
        """The exit code, after a word about an end that the output does not show."""
        code = code_of_result(result)
        never_began = bool(result.error_message) and not result.output  # a command that began has had its say
        if code not in {Exit.OK, result.exit_code} or never_began:
            why = f": {result.error_message}" if result.error_message else ""
            say(f"{result.task_id} ended as {result.status.value}{why}")
        return code
