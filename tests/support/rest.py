"""The REST interface of a running server, as any program of a user's would call it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, Self

import httpx

from tests.support.processes import Server, asked_until

WAIT = "25s"
WAIT_SECONDS = 60.0
COUNTS_FRESH_SECONDS = 1.0

Json = dict[str, Any]


class SentEvent(NamedTuple):
    """One event of a stream. `id` 0: it has none."""

    id: int
    name: str
    data: Json


Events = AsyncGenerator[SentEvent, None]


class Rest:
    """Calls under `/api/v1`, each with the answer that it ought to get. Use as an async context."""

    def __init__(self, server: Server) -> None:
        self.http = httpx.AsyncClient(base_url=server.http, timeout=WAIT_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def get(self, path: str, *, expect: int = 200, **parameters: Any) -> Json:
        """The JSON under a path."""
        return _checked(await self.http.get(f"/api/v1{path}", params=parameters), expect)

    async def post(self, path: str, body: Json, status: int = 201, **headers: str) -> Json:
        """The answer to a body."""
        return _checked(await self.http.post(f"/api/v1{path}", json=body, headers=headers), status)

    async def submit(self, task_type: str, payload: Any = None, **fields: Any) -> str:
        """Submit a task. Returns its id."""
        return str((await self.post("/tasks", {"type": task_type, "payload": payload, **fields}))["id"])

    async def shell(self, command: str | Sequence[str], **fields: Any) -> str:
        """Submit a command. Returns its id."""
        return str((await self.post("/tasks/shell", {"command": command, **fields}))["id"])

    async def batch(self, tasks: Sequence[Json]) -> list[str]:
        """Submit many tasks, all of which are accepted. Returns their ids."""
        outcomes = (await self.post("/tasks/batch", {"tasks": list(tasks)}, 200))["outcomes"]
        assert not [outcome["error"] for outcome in outcomes if outcome["error"]]
        return [outcome["task_id"] for outcome in outcomes]

    async def echo(self, count: int, **fields: Any) -> list[str]:
        """Submit many echo tasks. Returns their ids."""
        return await self.batch([{"type": "echo", "payload": number, **fields} for number in range(count)])

    async def result(self, task_id: str) -> Json:
        """How a task has ended, when it has."""
        return await self.get(f"/tasks/{task_id}/result", wait=WAIT)

    async def results(self, task_ids: Sequence[str]) -> list[Json]:
        """How tasks have ended, when all have."""
        return await asyncio.gather(*map(self.result, task_ids))

    async def cancel(self, task_id: str, status: int = 202, **body: Any) -> Json:
        """Ask for a task to be stopped."""
        return await self.post(f"/tasks/{task_id}/cancel", body, status)

    async def logs(self, task_id: str, **parameters: Any) -> bytes:
        """What a task printed, up to its end."""
        return b"".join([chunk async for chunk in self._output(task_id, **parameters)])

    async def printed(self, task_id: str, words: str) -> bytes:
        """What a task has printed as soon as these words are in it."""
        seen = b""
        async with asyncio.timeout(WAIT_SECONDS), aclosing(self._output(task_id)) as chunks:
            async for chunk in chunks:
                seen += chunk
                if words.encode() in seen:
                    return seen
        raise AssertionError(f"{words!r} was never printed: {seen!r}")

    async def heard(self, task_id: str, name: str) -> SentEvent:
        """The first event of a task with this name, as soon as it has come."""
        async with asyncio.timeout(WAIT_SECONDS), self.events(f"/tasks/{task_id}/events") as events:
            while (event := await anext(events)).name != name:
                pass
            return event

    @asynccontextmanager
    async def events(
        self, path: str = "/events", *, after: int | None = None, **parameters: Any
    ) -> AsyncIterator[Events]:
        """An open stream of events, its `hello` heard already. `after`: sent as Last-Event-ID."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        async with self.http.stream("GET", f"/api/v1{path}", params=parameters, headers=headers) as response:
            assert response.status_code == 200
            async with aclosing(_events_in(response)) as events:
                assert (await anext(events)).name == "hello"
                yield events

    async def online(self, name: str = "agent") -> Json:
        """An agent, as soon as it is online."""
        async with asyncio.timeout(WAIT_SECONDS), self.events() as events:
            while not (found := await self._online(name)):
                await anext(events)
        return found

    async def metrics(self) -> dict[str, float]:
        """What the server has counted: the sum of each metric over its labels."""
        sums: dict[str, float] = {}
        for line in (await self.http.get("/metrics")).text.splitlines():
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                name = series.partition("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    async def all_ended(self) -> None:
        """Wait until no task is live."""

        async def ended() -> bool | None:
            return not (await self.metrics()).get("nodelink_tasks_live") or None

        await asked_until(ended, "all tasks ended", WAIT_SECONDS, COUNTS_FRESH_SECONDS / 4)

    async def _online(self, name: str) -> Json | None:
        agents = (await self.get("/agents", status="online"))["agents"]
        return next((agent for agent in agents if agent["name"] == name), None)

    async def _output(self, task_id: str, **parameters: Any) -> AsyncGenerator[bytes, None]:
        asked = {"follow": "true", **parameters}
        async with self.http.stream("GET", f"/api/v1/tasks/{task_id}/logs", params=asked) as response:
            assert response.status_code == 200
            async for chunk in response.aiter_bytes():
                yield chunk


def _checked(response: httpx.Response, status: int) -> Json:
    assert response.status_code == status, f"{response.status_code}: {response.text[:2000]}"
    answer: Json = response.json()
    return answer


async def _events_in(response: httpx.Response) -> Events:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif "data" in fields:
            yield SentEvent(int(fields.get("id", 0)), fields["event"], json.loads(fields["data"]))
            fields = {}
