"""Callers who keep asking for tasks of every kind, see each one to its end, and write down what they are answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from nodelink.task import Execution
from tests.faults.notes import Notes
from tests.faults.stage import running_attempts
from tests.support.effects import TICK_SECONDS, Effects

CALL_SECONDS = 10.0
AGAIN_SECONDS = 0.1
GIVEN_UP = 0.02
"""So many of those who get no answer do not ask again."""
LONGEST = 50
"""Tenths of a second that a command takes at most."""
LONG, SHORTEST = 0.3, 4
LABEL_CHARS = 1_000
LOCKS = ("red", "green", "blue")
OVER = frozenset({"completed", "failed", "timeout", "cancelled", "lost", "skipped"})

REMOVED: dict[str, Any] = {"status": "removed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One task that a caller wants.

    `cancel_after`: seconds after it was accepted; `cancel_running`: it is to be cancelled for certain, once it runs.
    `bulk`: so many labels of a kilobyte come with it, which an agent's journal has to keep.
    """

    token: str
    type: str
    execution: Execution
    lock: str = ""
    ticks: int = 0
    code: int = 0
    cancel_after: float | None = None
    cancel_running: bool = False
    bulk: int = 0

    def body(self, effects: Effects) -> Mapping[str, Any]:
        """What is sent."""
        labels = {f"bulk-{number}": "x" * LABEL_CHARS for number in range(self.bulk)}
        common: dict[str, Any] = {"metadata": {"token": self.token, **labels}, "execution": str(self.execution)}
        if self.lock:
            common["lock"] = self.lock
        if self.type == "echo":
            return {"type": "echo", "payload": self.token, **common}
        command = effects.command(self.token, ticks=self.ticks, code=self.code)
        return {"type": "shell", "payload": {"command": command}, **common}


KINDS: Mapping[str, tuple[str, Execution]] = {
    "echo": ("echo", Execution.REPLAYABLE),
    "replayable": ("shell", Execution.REPLAYABLE),
    "once": ("shell", Execution.ONCE),
    "exclusive": ("shell", Execution.EXCLUSIVE),
}


class Load:
    """Callers. `kinds` is what they ask for, `longest` how many tenths of a second a command takes at most; `living`
    tells the processes of the run, to a person who has to know.
    """

    def __init__(
        self,
        url: str,
        notes: Notes,
        effects: Effects,
        *,
        chance: random.Random,
        living: Callable[[], Sequence[int]],
        kinds: Sequence[str] = tuple(KINDS),
        longest: int = LONGEST,
        cancelled: float = 0.15,
        may_be_removed: bool = False,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=CALL_SECONDS,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )
        self._notes = notes
        self._effects = effects
        self._chance = chance
        self._living = living
        self._kinds = kinds
        self._longest = longest
        self._cancelled = cancelled
        self._count = 0
        self._may_be_removed = may_be_removed
        self._stopping = asyncio.Event()
        self.over = 0
        """How many tasks were seen to their end."""

    @property
    def asked(self) -> int:
        """How many tasks were asked for so far."""
        return self._count

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def run(self, callers: int, *, most: int | None = None) -> None:
        """Ask until told to stop, or until so many were asked for; then see what was accepted to its end."""
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._call(most))

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopping.set()

    async def some(self, *plans: Plan) -> None:
        """Ask for these, and see them to their end."""
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(self._see_through(plan))

    def plan(self, kind: str | None = None) -> Plan:
        """Any task, or one of a kind."""
        chance = self._chance
        self._count += 1
        task_type, execution = KINDS[kind or chance.choice(self._kinds)]
        is_shell = task_type == "shell"
        needs_lock = execution is Execution.EXCLUSIVE or (is_shell and chance.random() < 0.1)
        return Plan(
            token=f"t{self._count}",
            type=task_type,
            execution=execution,
            lock=chance.choice(LOCKS) if needs_lock and "exclusive" in self._kinds else "",
            ticks=self._ticks() if is_shell else 0,
            code=3 if is_shell and chance.random() < 0.1 else 0,
            cancel_after=chance.uniform(0, 1.5) if is_shell and chance.random() < self._cancelled else None,
        )

    def _ticks(self) -> int:
        """Most commands are short. Some are there long enough to be in the way if they are forgotten."""
        return self._chance.randrange((self._longest if self._chance.random() < LONG else SHORTEST) + 1)

    async def batch(self, plans: Sequence[Plan]) -> None:
        """Ask for these in one call, and see them to their end."""
        for plan in plans:
            self._asked(plan)
        bodies = [{**plan.body(self._effects), "idempotency_key": plan.token} for plan in plans]
        while True:
            try:
                answer = await self._http.post("/api/v1/tasks/batch", json={"tasks": bodies})
            except httpx.TransportError:
                for plan in plans:
                    self._notes.write("unknown", token=plan.token)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if answer.status_code == httpx.codes.OK:
                break
            await asyncio.sleep(AGAIN_SECONDS)
        async with asyncio.TaskGroup() as group:
            for plan, outcome in zip(plans, answer.json()["outcomes"], strict=True):
                if outcome["task_id"] is None:
                    self._notes.write("refused", token=plan.token, error=outcome["error"]["code"])
                    continue
                self._notes.write("answer", token=plan.token, task_id=outcome["task_id"])
                group.create_task(self._see_to_its_end(outcome["task_id"]))

    # --- one caller

    async def _call(self, most: int | None) -> None:
        while not self._stopping.is_set() and (most is None or self._count < most):
            await self._see_through(self.plan())

    async def _see_through(self, plan: Plan) -> None:
        self._asked(plan)
        task_id = await self._submit(plan)
        if task_id is None:
            return
        if plan.cancel_after is not None:
            await asyncio.sleep(plan.cancel_after)
            await self._cancel(plan, task_id)
        if plan.cancel_running:
            await self._cancel_running(plan, task_id)
        await self._see_to_its_end(task_id)

    def _asked(self, plan: Plan) -> None:
        words = {"token": plan.token, "type": plan.type, "execution": str(plan.execution), "lock": plan.lock}
        self._notes.write("asked", **words, key=plan.token, ticks=plan.ticks, code=plan.code)

    async def _submit(self, plan: Plan) -> str | None:
        """Submit until there is an answer. Some do not insist."""
        while True:
            try:
                answer = await self._http.post(
                    "/api/v1/tasks", json=plan.body(self._effects), headers={"Idempotency-Key": plan.token}
                )
            except httpx.TransportError:
                self._notes.write("unknown", token=plan.token)
                if self._chance.random() < GIVEN_UP:
                    return None
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if answer.status_code == httpx.codes.CREATED:
                task_id = str(answer.json()["id"])
                self._notes.write("answer", token=plan.token, task_id=task_id)
                return task_id
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and answer.status_code != 429:
                raise AssertionError(f"{plan}: {answer.status_code} {answer.text}")
            await asyncio.sleep(AGAIN_SECONDS)

    async def _cancel(self, plan: Plan, task_id: str) -> bool:
        """Ask once for it to be stopped. Whether there was an answer."""
        self._notes.write("cancel", token=plan.token, task_id=task_id)
        try:
            answer = await self._http.post(f"/api/v1/tasks/{task_id}/cancel", json={"grace": "1s"})
        except httpx.TransportError:
            return False
        if answer.status_code in {200, 202}:
            self._saw("cancel", answer.json())
        return answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR

    async def _cancel_running(self, plan: Plan, task_id: str) -> None:
        while True:
            task = await self._look(task_id)
            if task is not None and task["status"] not in {"pending", "sent"}:
                break
            await asyncio.sleep(AGAIN_SECONDS)
        while not await self._cancel(plan, task_id):  # noqa: ASYNC110 - no event tells when a server is there
            await asyncio.sleep(AGAIN_SECONDS)

    async def _see_to_its_end(self, task_id: str) -> None:
        while True:
            task = await self._look(task_id)
            if task is None:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if task == REMOVED:
                return
            self._saw("get", task)
            if task["status"] in OVER:
                self.over += 1
                return
            if task["status"] == "unknown":
                await self._resolve(task_id)
            await self._wait(task_id)

    async def _look(self, task_id: str) -> dict[str, Any] | None:
        try:
            answer = await self._http.get(f"/api/v1/tasks/{task_id}")
        except httpx.TransportError:
            return None
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return None
        if answer.status_code == httpx.codes.NOT_FOUND and self._may_be_removed:
            return REMOVED
        assert answer.status_code == 200, f"{task_id}: {answer.status_code} {answer.text}"
        task: dict[str, Any] = answer.json()
        return task

    async def _wait(self, task_id: str) -> None:
        """Wait a while for the end."""
        try:
            await self._http.get(f"/api/v1/tasks/{task_id}/result", params={"wait": "2s"})
        except httpx.TransportError:
            await asyncio.sleep(AGAIN_SECONDS)

    async def _resolve(self, task_id: str) -> None:
        """A person looks at the machines. Once nothing of the task lives there, it is said to have failed."""
        await asyncio.sleep(2 * TICK_SECONDS)
        if any(task == task_id for task, _ in await asyncio.to_thread(lambda: running_attempts(self._living()))):
            return
        done: bool | None = None
        with suppress(httpx.TransportError):
            answer = await self._http.post(
                f"/api/v1/tasks/{task_id}/resolve", json={"as": "failed", "reason": "nothing of it lives"}
            )
            done = answer.status_code == httpx.codes.OK
        self._notes.write("deed", verb="resolve", task_id=task_id, done=done)

    def _saw(self, verb: str, task: Mapping[str, Any]) -> None:
        self._notes.write("sight", verb=verb, task_id=task["id"], status=task["status"])
