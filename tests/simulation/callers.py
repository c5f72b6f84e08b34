"""Simulated callers: they submit, cancel and wait at random moments, and ask again when nobody answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from nodelink.errors import CallerError, NodelinkError, StoreError, TaskNotFound
from nodelink.task import TERMINAL, Execution, Submission, TaskSpec, TaskStatus
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import TaskRecord
from tests.simulation.history import History, Request, Sight
from tests.simulation.plans import draw_plan
from tests.simulation.servers import ServerHost, Unanswered

TRIES = 40
HANDLERS = {"echo": Execution.REPLAYABLE, "render": Execution.REPLAYABLE, "fussy": Execution.ONCE}
"""The types that the agents of a run declare: `render` is the first one's alone, and `fussy` the others decline."""
TYPES = ("echo", "echo", "echo", "render", "fussy")
PRIORITIES = (1, 25, 50, 50, 50, 75, 100)


class Caller:
    """One program that has work done. Its requests are named after it."""

    def __init__(
        self, name: str, *, batches: Sequence[int], server: ServerHost, history: History, chance: random.Random
    ) -> None:
        self._name = name
        self._batches = batches
        self._server = server
        self._history = history
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._count = 0

    async def run(self, *, seconds: float, rounds: int) -> None:
        """Make so many rounds of requests, spread over so many seconds."""
        async with asyncio.TaskGroup() as group:
            for _ in range(rounds):
                await asyncio.sleep(self._chance.expovariate(rounds / seconds))
                group.create_task(self._round())

    async def _round(self) -> None:
        asked = [self._draw() for _ in range(self._chance.choice(self._batches))]
        await self._submit(asked)
        if self._chance.random() < 0.05:
            await self._misuse_key(asked[0])
        for request, _ in asked:
            if request.accepted:
                await self._follow_up(request.accepted[0])

    # -- submitting ---------------------------------------------------------------------------------------------------

    def _draw(self) -> tuple[Request, Submission]:
        chance = self._chance
        self._count += 1
        token = f"{self._name}-{self._count}"
        key = f"key of {token}" if chance.random() < 0.6 else None
        type, execution = chance.choice(TYPES), chance.choice((None, Execution.ONCE, Execution.REPLAYABLE))
        request = Request(token=token, execution=execution or HANDLERS[type], key=key)
        self._history.requests.append(request)
        spec = TaskSpec(
            type=type,
            priority=chance.choice(PRIORITIES),
            execution=execution,
            delay_ms=chance.randrange(1, 10_000) if chance.random() < 0.15 else None,
            queue_timeout_ms=chance.choice((0, 500, 20_000)) if chance.random() < 0.15 else None,
            timeout_ms=chance.choice((200, 5_000)) if chance.random() < 0.2 else None,
        )
        return request, Submission(spec=spec, payload=draw_plan(token, chance).payload, idempotency_key=key)

    async def _submit(self, asked: Sequence[tuple[Request, Submission]]) -> None:
        """Ask until there is an answer; what has no key is asked for once only."""
        pending = list(asked)
        for _ in range(TRIES):
            await self._try(pending)
            again = self._chance.random() < 0.1  # a caller that forgot that it had an answer
            pending = [(r, s) for r, s in pending if r.key is not None and (again or not (r.accepted or r.refused))]
            if not pending:
                return
            await asyncio.sleep(self._chance.uniform(0.05, 3.0))

    async def _try(self, asked: Sequence[tuple[Request, Submission]]) -> None:
        try:
            outcomes = await self._server.call(lambda manager: manager.submit([s for _, s in asked]))
        except CallerError as refusal:
            outcomes = [refusal] * len(asked)
        except (Unanswered, StoreError):
            for request, _ in asked:
                request.unknown += 1
            return
        for (request, _), outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                request.accepted.append(outcome.task.id)
            else:
                request.refused.append(type(outcome).__name__)

    async def _misuse_key(self, asked: tuple[Request, Submission]) -> None:
        """Ask for something else under a key that is taken."""
        first, submission = asked
        if first.key is None or not first.accepted:
            return
        self._count += 1
        other = Request(token=f"{self._name}-{self._count}", execution=first.execution, key=first.key)
        self._history.requests.append(other)
        payload = draw_plan(other.token, self._chance).payload
        await self._try([(other, Submission(spec=submission.spec, payload=payload, idempotency_key=first.key))])

    # -- afterwards ---------------------------------------------------------------------------------------------------

    async def _follow_up(self, task_id: str) -> None:
        luck = self._chance.random()
        if luck < 0.25:
            await asyncio.sleep(self._chance.choice((0.0, 0.05, 1.0, 8.0)) * self._chance.random())
            await self._cancel(task_id)
        elif luck < 0.5:
            await self._wait(task_id)

    async def _cancel(self, task_id: str) -> None:
        grace_ms = self._chance.choice((0, 1_000, 10_000))
        await self._ask("cancel", task_id, lambda manager: manager.cancel(task_id, grace_ms=grace_ms))

    async def _wait(self, task_id: str) -> None:
        for _ in range(TRIES):
            status = await self._ask("wait", task_id, lambda manager: manager.wait(task_id, 5_000))
            if status is None or status in TERMINAL:
                return

    async def _ask(
        self, verb: str, task_id: str, ask: Callable[[TaskManager], Awaitable[TaskRecord]]
    ) -> TaskStatus | None:
        """Ask about an accepted task until there is an answer. Returns the status that was told, if one was."""
        for _ in range(TRIES):
            try:
                status = (await self._server.call(ask)).task.status
            except TaskNotFound:
                self._history.problems.append(f"an accepted task was not found: {task_id}")
                return None
            except CallerError:
                return None
            except (Unanswered, NodelinkError):
                await asyncio.sleep(self._chance.uniform(0.05, 2.0))
                continue
            self._history.sights.append(Sight(self._loop.time(), verb, task_id, status))
            return status
        return None
