"""A server's worth of commits over a real database, one after the other, each followed by a mark: it was acknowledged.

    python -m tests.power.committer DATABASE MARKS SEED COMMITS SYNCHRONOUS

The same seed makes the same commits. The database is closed and opened again now and then, and its log is copied back
far more often than usual. SYNCHRONOUS is FULL, as it is for real, or less, to see that the difference is seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from nodelink.task import Execution, LogStream, Rate, TaskStatus
from nodelink_server.core.ports import Batch, Change, Evidence, IdempotencyKey, LogRow, Store
from nodelink_server.core.task import Task, stamp
from nodelink_server.core.task_record import LateResult
from nodelink_server.store import connections, writer
from nodelink_server.store.sql import open_store
from tests.machines.steps import LEGAL, START_MS, agent_record, grant, new_task, submit
from tests.power.states import state_of

COMMITS_PER_LIFE = 40
LONG_LOG_PAGES = 150
IDLE_PATIENCE_SECONDS = 60.0
AGENTS = ("a1", "a2")
LOCKS = ("", "", "database", "network")
ASKED: Sequence[Mapping[str, object]] = (
    {},
    {},
    {"limits": {"license": 2}, "slots": 2},
    {"rates": {"mail": Rate(2, 100)}, "fairness_key": "one"},
    {"limits": {"license": 3}, "workspace": "site"},
)


class Committer:
    """Makes commits by lot, and knows what is stored. To have opened a database counts as a commit."""

    def __init__(self, path: Path, marks: int, random: Random) -> None:
        self._path = path
        self._marks = marks
        self._random = random
        self._live: dict[str, Task] = {}
        self._fence = 0
        self._made = 0
        self._commits = 0
        self._positions: dict[str, int] = {}

    async def live(self, commits: int) -> None:
        """One life of a server: it opens the database, and commits so often."""
        async with open_store(f"sqlite:///{self._path}", ids=lambda: "cluster") as store:
            self._mark("tasks", self._path)
            self._mark("logs", self._path.with_name("logs.db"))
            await store.boot(self._now)
            for _ in range(commits):
                await self._commit(store)
                if self._random.random() < 0.3:
                    await self._print(store)
            if self._random.random() < 0.5:
                await asyncio.to_thread(self._until_log_is_empty)

    @property
    def _now(self) -> int:
        return START_MS + self._commits * 10

    async def _commit(self, store: Store) -> None:
        self._commits += 1
        changes = self._changes()
        agents = [agent_record(self._random.choice(AGENTS), self._commits, now=self._now)]
        evidence = self._evidence() if self._random.random() < 0.2 else ()
        batch = Batch(
            now=self._now,
            control_ms=self._commits * 10,
            changes=changes,
            agents=agents if self._random.random() < 0.2 else (),
            evidence=evidence,
        )
        receipt = await store.apply(batch)
        for change, revision, key in zip(changes, receipt.revisions, receipt.keys, strict=True):
            if revision:
                self._keep(change, revision, key)
        self._mark("tasks", self._path)

    def _changes(self) -> Sequence[Change]:
        random = self._random
        known = random.sample(sorted(self._live), min(len(self._live), random.randint(0, 6)))
        moves = [change for name in known if (change := self._move(self._live[name])) is not None]
        return [*moves, *(self._submission() for _ in range(random.randint(0, 3)))]

    def _move(self, task: Task) -> Change | None:
        if task.status is TaskStatus.PENDING and self._random.random() < 0.8:
            self._fence += 1
            agent, at = self._random.choice(AGENTS), self._random.randrange(3)
            return grant(task, agent_id=agent, fence=self._fence, now=self._now, at=at)
        *usual, abandon = LEGAL[task.status]
        return self._random.choice(usual if self._random.random() < 0.9 else [abandon])(task, self._now)

    def _submission(self) -> Change:
        self._made += 1
        random = self._random
        task = new_task(
            f"t{self._made}",
            now=self._now,
            execution=random.choice(list(Execution)),
            lock=random.choice(LOCKS),
            payload=b"x" * random.choice((2, 100, 9_000)),
            metadata={"number": str(self._made)} if random.random() < 0.3 else None,
            asked=random.choice(ASKED),
        )
        key = IdempotencyKey(caller="local", key=str(random.randint(0, 200)), digest=b"body")
        return submit(task, key if random.random() < 0.3 else None)

    def _evidence(self) -> Sequence[Evidence]:
        stored = [task for task in self._live.values() if task.grants]
        return [
            Evidence(task.key, LateResult(1, self._commits, "a1", self._now, "gone"))
            for task in self._random.sample(stored, min(1, len(stored)))
        ]

    def _keep(self, change: Change, revision: int, key: int) -> None:
        stamp(change.task, key=key, revision=revision)
        if change.task.is_terminal:
            self._live.pop(change.task.id, None)
        else:
            self._live[change.task.id] = change.task

    async def _print(self, store: Store) -> None:
        running = [task for task in self._live.values() if task.attempt is not None]
        if not running:
            return
        task = self._random.choice(running)
        data = b"o" * self._random.choice((10, 3_000, 20_000))
        position = self._positions.get(task.id, 0)
        self._positions[task.id] = position + len(data)
        await store.append_logs([LogRow(task.key, task.ref.attempt, LogStream.STDOUT, position, position, data)])
        self._mark("logs", self._path.with_name("logs.db"))

    def _until_log_is_empty(self) -> None:
        """Wait until the writer has found itself idle. Raises `TimeoutError`: it never did."""
        log = self._path.with_name(self._path.name + "-wal")
        patience = time.monotonic() + IDLE_PATIENCE_SECONDS
        while log.stat().st_size:
            if time.monotonic() > patience:
                raise TimeoutError(f"{log.name} was still not empty after {IDLE_PATIENCE_SECONDS:g} seconds")
            time.sleep(0.01)

    def _mark(self, what: str, path: Path) -> None:
        """Say that everything until now was acknowledged, and what the database holds by that."""
        text = json.dumps({what: state_of(path).digest})
        os.write(self._marks, text.encode())


async def run(path: Path, marks: Path, seed: int, commits: int) -> None:
    """Make so many commits in several lives."""
    file = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    committer = Committer(path, file, Random(seed))
    while commits > 0:
        await committer.live(min(commits, COMMITS_PER_LIFE))
        commits -= COMMITS_PER_LIFE


def main(path: str, marks: str, seed: str, commits: str, synchronous: str) -> None:
    """Make the database's own settings such that much happens in a short time, and go."""
    writer.LONG_LOG_PAGES = LONG_LOG_PAGES
    writer.IDLE_SECONDS = 0.05
    first, *others = connections._WRITER
    assert "synchronous" in first
    connections._WRITER = (f"PRAGMA synchronous = {synchronous}", *others)  # type: ignore[assignment]  # of other length
    asyncio.run(run(Path(path), Path(marks), int(seed), int(commits)))


if __name__ == "__main__":
    main(*sys.argv[1:])
