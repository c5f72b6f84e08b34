"""Simulated callers: they submit, cancel and wait at random moments, and ask again when nobody answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from nodelink.errors import CallerError, NodelinkError, StoreError, TaskAlreadyFinished, TaskNotFound
from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY, PLANNED
from nodelink.task import TERMINAL, Execution, OnConflict, RetryPolicy, Submission, TaskSpec, TaskStatus
from nodelink_server.core.bulk import BulkAction, BulkOrder
from nodelink_server.core.extensions import NewLimits
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task_record import RemarkKind, TaskRecord
from tests.checking.history import Extension, History, Reprioritized, Request, Sight
from tests.simulation.agents import AgentHost
from tests.simulation.placing import draw_placing
from tests.simulation.plans import Plan, draw_plan
from tests.simulation.servers import ServerHost, Unanswered

TRIES = 40
EXTEND_TRIES = 12
LONGEST_TRY = 5.0
"""What may be tried several times does not take longer than so many seconds each time, so that runs end."""
HANDLERS = {
    "echo": Execution.REPLAYABLE,
    "render": Execution.REPLAYABLE,
    "shell": Execution.ONCE,
    "deploy": Execution.EXCLUSIVE,
    "fussy": Execution.ONCE,
    PLAN: Execution.REPLAYABLE,
    APPLY: Execution.EXCLUSIVE,
    PLAN_AND_APPLY: Execution.EXCLUSIVE,
}
"""The types that the agents of a run declare: every other one has `render`, and all but the first decline `fussy`."""
PLACES = {
    "render": "",
    "shell": "spawner",
    "deploy": "spawner",
    "fussy": "",
    PLAN: "",
    APPLY: "spawner",
    PLAN_AND_APPLY: "spawner",
}
"""Where they are done: in the agent's own process, or by its spawner. Echo is done inline."""
TYPES = (
    *("echo", "echo", "render", "render", "shell", "shell", "shell", "deploy", "deploy", "fussy"),
    *(PLAN, APPLY, PLAN_AND_APPLY),
)
CLASSES = (None, Execution.ONCE, Execution.REPLAYABLE, Execution.REPLAYABLE, Execution.EXCLUSIVE)
LOCKS = ("", "", "", "the one", "the other")
MORE_SECONDS = 90.0
"""How much time work gives itself: more than it needs."""
PRIORITIES = (1, 25, 50, 50, 50, 75, 100)


def draw_retry(chance: random.Random) -> RetryPolicy | None:
    """How often a task is to be tried: mostly once."""
    if chance.random() < 0.75:
        return None
    initial = chance.choice((0, 100, 2_000, 20_000))
    return RetryPolicy(max_attempts=chance.choice((1, 2, 3, 5)), initial_ms=initial, max_ms=max(initial, 5_000))


def draw_silence(chance: random.Random) -> int | None:
    """For how long a task may be silent: mostly as long as it likes."""
    return chance.choice((1_000, 5_000, 20_000)) if chance.random() < 0.15 else None


def draw_limits(chance: random.Random) -> NewLimits:
    """Other limits, one at least: mostly of the run."""
    total_ms = chance.choice((2_000, 60_000)) if chance.random() < 0.3 else None
    silence_ms = chance.choice((1_000, 30_000)) if chance.random() < 0.3 else None
    is_run = total_ms is silence_ms is None or chance.random() < 0.6
    return NewLimits(chance.choice((500, 10_000, 40_000)) if is_run else None, total_ms, silence_ms)


def joins(spec: TaskSpec) -> bool:
    """Whether a live task with the same unique key is as good."""
    return spec.on_conflict is OnConflict.USE_EXISTING and bool(spec.unique_key)


class Caller:
    """One program that has work done. Its requests are named after it."""

    def __init__(
        self,
        name: str,
        *,
        batches: Sequence[int],
        server: ServerHost,
        history: History,
        chance: random.Random,
        machines: Sequence[AgentHost],
        crowd: float,
        longest_work: float,
    ) -> None:
        self._name = name
        self._batches = batches
        self._server = server
        self._history = history
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._machines = machines
        self._crowd = crowd
        self._longest_work = longest_work
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

    async def ask_for(self, type: str, *, seconds: float) -> str:
        """Have one task done that takes so long, and has no other wishes. Returns the name of the request."""
        self._count += 1
        token = f"{self._name}-{self._count}"
        request = Request(token=token, execution=HANDLERS[type], key=f"key of {token}")
        self._history.requests.append(request)
        plan = Plan(token=token, seconds=seconds, steps=self._chance.randrange(1, 5))
        spec = TaskSpec(type=type)
        await self._submit([(request, Submission(spec=spec, payload=plan.payload, idempotency_key=request.key))])
        return token

    # -- submitting ---------------------------------------------------------------------------------------------------

    def _draw(self) -> tuple[Request, Submission]:
        chance = self._chance
        self._count += 1
        token = f"{self._name}-{self._count}"
        key = f"key of {token}" if chance.random() < 0.6 else None
        type, execution, lock = chance.choice(TYPES), chance.choice(CLASSES), chance.choice(LOCKS)
        execution = None if type in PLANNED else execution
        drawn = chance.random()
        fate = random.Random(f"{drawn}/retry")
        retry = draw_retry(fate)
        total_ms = fate.choice((1_000, 10_000, 60_000)) if fate.random() < 0.1 else None
        silence_ms = draw_silence(random.Random(f"{drawn}/silence"))
        request = Request(
            token=token,
            execution=execution or HANDLERS[type],
            key=key,
            lock=lock,
            max_attempts=retry.max_attempts if retry is not None else 1,
            total_timeout=total_ms / 1000 if total_ms is not None else None,
            is_watched=silence_ms is not None,
        )
        self._history.requests.append(request)
        place = draw_placing(random.Random(f"{drawn}/placing"), request, self._machines, self._crowd)
        spec = TaskSpec(
            type=type,
            priority=chance.choice(PRIORITIES),
            execution=execution,
            lock=lock,
            delay_ms=chance.randrange(1, 10_000) if chance.random() < 0.15 else None,
            queue_timeout_ms=chance.choice((0, 500, 20_000)) if chance.random() < 0.15 else None,
            timeout_ms=chance.choice((200, 5_000)) if chance.random() < 0.2 else None,
            retry=retry,
            total_timeout_ms=total_ms,
            heartbeat_timeout_ms=silence_ms,
            start_timeout_ms=fate.choice((100, 5_000)) if fate.random() < 0.05 else None,
            **place,  # type: ignore[arg-type]  # names of fields
        )
        plan = draw_plan(token, type, chance, longest=self._longest_work)
        if type in PLANNED:  # of several in one place each has to wait for all before it
            plan = replace(plan, seconds=min(plan.seconds, LONGEST_TRY))
        if retry is not None:
            plan = replace(plan, fails=fate.choice((0, 1, 1, 2, 5)), seconds=min(plan.seconds, LONGEST_TRY))
            plan = replace(plan, asks=fate.choice((0.0, 0.0, 0.5, 8.0, 30.0)))
        if not PLACES.get(type, "spawner") and fate.random() < 0.5:
            plan = replace(plan, more=MORE_SECONDS)
        return request, Submission(spec=spec, payload=plan.payload, idempotency_key=key)

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
        for (request, submission), outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Accepted) and outcome.replayed and joins(submission.spec):
                request.joined.append(outcome.task.id)  # or its own, if an earlier answer was lost
            elif isinstance(outcome, Accepted):
                request.accepted.append(outcome.task.id)
            else:
                request.refused.append(type(outcome).__name__)

    async def _misuse_key(self, asked: tuple[Request, Submission]) -> None:
        """Ask for something else under a key that is taken."""
        first, submission = asked
        if first.key is None or not first.accepted:
            return
        self._count += 1
        other = replace(first, token=f"{self._name}-{self._count}", lock="", accepted=[], refused=[], unknown=0)
        self._history.requests.append(other)
        payload = draw_plan(other.token, submission.spec.type, self._chance).payload
        await self._try([(other, Submission(spec=submission.spec, payload=payload, idempotency_key=first.key))])

    # -- afterwards ---------------------------------------------------------------------------------------------------

    async def _follow_up(self, task_id: str) -> None:
        luck = self._chance.random()
        if luck < 0.25:
            await asyncio.sleep(self._chance.choice((0.0, 0.05, 1.0, 8.0, 30.0)) * self._chance.random())
            await self._cancel(task_id)
        elif luck < 0.5:
            await self._wait(task_id)
        elif luck < 0.6:
            await self._reprioritize(task_id, random.Random(f"{luck}/priority"))
        else:
            await self._extend(task_id, random.Random(f"{luck}/extend"))

    async def _reprioritize(self, task_id: str, chance: random.Random) -> None:
        """Give it another priority, once or several times."""
        for _ in range(chance.choice((1, 1, 3))):
            await asyncio.sleep(chance.choice((0.0, 0.5, 5.0)) * chance.random())
            priority = chance.choice(PRIORITIES)
            order = BulkOrder(
                query=TaskQuery(ids=frozenset([task_id])), action=BulkAction.SET_PRIORITY, priority=priority
            )
            key = f"priority {chance.random()}" if chance.random() < 0.5 else None
            done = await self._reprioritized(order, key)
            if done is None and key is not None:  # what the first call has done, the second one need not do
                await asyncio.sleep(1.0)
                done = await self._reprioritized(order, key) or None
            self._history.priorities.append(Reprioritized(task_id, priority, done, self._loop.time()))

    async def _reprioritized(self, order: BulkOrder, key: str | None) -> bool | None:
        try:
            return (await self._server.call(lambda manager: manager.bulk(order, idempotency_key=key))).done == 1
        except CallerError:
            return False
        except (Unanswered, NodelinkError):
            return None

    async def _extend(self, task_id: str, chance: random.Random) -> None:
        """Give it other limits, once or several times; while nothing runs that could have them, ask again."""
        for _ in range(chance.choice((0, 1, 1, 3))):
            await asyncio.sleep(chance.choice((0.5, 2.0, 8.0)) * chance.random())
            limits = draw_limits(chance)
            for _ in range(EXTEND_TRIES):
                if await self._extended(task_id, limits):
                    break
                await asyncio.sleep(chance.uniform(0.1, 2.0))

    async def _extended(self, task_id: str, limits: NewLimits) -> bool:
        """Ask for other limits. Returns whether it is no use to ask again."""
        asked_at, done, is_over, ref, number = self._loop.time(), None, False, None, 0
        try:
            record = await self._server.call(lambda manager: manager.extend(task_id, limits, by=self._name))
            done = True
            if record.task.attempt is not None and record.task.attempt.extension is not None:
                ref, number = record.task.ref, self._number_of_own(record)
        except CallerError as refusal:
            done, is_over = False, isinstance(refusal, TaskAlreadyFinished)
        except (Unanswered, NodelinkError):
            pass
        timeout, total, silence = (None if ms is None else ms / 1000 for ms in limits)
        one = Extension(asked_at, self._loop.time(), task_id, done, timeout, total, silence, ref, number)
        self._history.extensions.append(one)
        return is_over or done is not False

    def _number_of_own(self, record: TaskRecord) -> int:
        """Which extension of a task's attempt was the last of this caller: the work may have made more since."""
        remarks = [one for one in record.remarks if one.kind is RemarkKind.EXTENDED]
        by = [one.by for one in remarks if one.attempt == record.task.ref.attempt]
        return max((number for number, who in enumerate(by, 1) if who == self._name), default=0)

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
                if not any(load.lacks(task_id) for load in self._history.loads):
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
