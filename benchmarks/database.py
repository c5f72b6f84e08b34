"""What people's questions cost when a million tasks are in the database: every list, every count, and `why`.

The database is filled through the store itself: most tasks have ended, many wait, some are delayed. Then a real server
is started on it and asked over REST, one question after the other in turn. `python -m benchmarks.database`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.store import AGENT, SETTLED, accepting, settling
from benchmarks.system import system
from nodelink.task import Execution, Finished, Outcome, TaskSpec, TaskStatus
from nodelink_server.core.ports import Batch, Change, EventName
from nodelink_server.core.task import Task, ready, scheduled, stamp
from nodelink_server.store.sql import SqlStore, open_store

TASKS = 1_000_000
PER_COMMIT = 2_000
ROUNDS = 40
GOAL_MS = 50.0
NOW = 1_700_000_000_000
DAY_MS = 24 * 3_600_000
POOLS = ("busy", "gpu", "slow", "small")
TYPES = ("echo", "shell", "shell", "shell")
ENDED_OF_TEN = 8
PENDING = (EventName.TASK_CREATED, EventName.TASK_PENDING)
SCHEDULED = (EventName.TASK_CREATED, EventName.TASK_SCHEDULED)


class Question(NamedTuple):
    """Something that is asked, and how long the answers took, in milliseconds."""

    name: str
    path: str
    times: list[float]


async def fill(directory: Path, tasks: int) -> Mapping[str, str]:
    """Put so many tasks there. Returns the ids of some by what they are an example of."""
    chance = random.Random(1)
    examples: dict[str, str] = {}
    async with open_store(f"sqlite:///{directory}/nodelink.db", ids=lambda: "benchmark") as store:
        await store.boot(NOW)
        for first in range(0, tasks, PER_COMMIT):
            if first // PER_COMMIT % 10 < ENDED_OF_TEN:
                changes = accepting(first, PER_COMMIT)
                await _commit(store, changes, first)
                await _end(store, changes, first)
                examples["completed"] = changes[0].task.id
            else:
                changes = [_waiting(first + place, chance) for place in range(PER_COMMIT)]
                await _commit(store, changes, first)
                examples["pending"] = changes[-1].task.id
            sys.stderr.write(f"\r{first + PER_COMMIT:,} of {tasks:,} tasks")
        sys.stderr.write("\n")
    return examples


async def _commit(store: SqlStore, changes: Sequence[Change], at: int) -> None:
    receipt = await store.apply(Batch(now=NOW + at, control_ms=at, changes=changes))
    for change, revision, key in zip(changes, receipt.revisions, receipt.keys, strict=True):
        stamp(change.task, key=key, revision=revision)


async def _end(store: SqlStore, accepted: Sequence[Change], at: int) -> None:
    """Of each hundred, three end badly."""
    ended = settling(accepted)
    bad = Finished(outcome=Outcome.FAILED, exit_code=1)
    for place in range(0, len(ended), 33):
        change = ended[place]
        failed = _with_status(change.task, TaskStatus.FAILED)
        ended[place] = Change(
            task=failed, expected=change.expected, events=(SETTLED[0], EventName.TASK_FAILED), finished=bad
        )
    await _commit(store, ended, at)


def _with_status(task: Task, status: TaskStatus) -> Task:
    object.__setattr__(task, "status", status)
    return task


def _waiting(number: int, chance: random.Random) -> Change:
    """A task that waits for an agent that never comes, or, of twenty, one for its time."""
    labels = {"team": f"team-{number % 50}"} if number % 5 == 0 else {}
    spec = TaskSpec(
        type=chance.choice(TYPES), pool=chance.choice(POOLS), priority=chance.randint(1, 100), metadata=labels
    )
    task = Task(
        id=f"0190a000-0000-7000-8000-{number:012x}",
        spec=spec,
        execution=Execution.ONCE,
        created_at=NOW,
        payload=b'{"command": "true"}',
    )
    if number % 20 == 0:
        return Change(task=scheduled(task, due_at=NOW + 10_000 * DAY_MS + number), expected=0, events=SCHEDULED)
    waits = ready(task, rank=number - spec.priority * 60_000, now=NOW, queue_deadline=None)
    return Change(task=waits, expected=0, events=PENDING)


def questions(examples: Mapping[str, str], agent_id: str) -> list[Question]:
    """Everything that people and the console ask for."""
    filters = {
        "newest": "",
        "of a status": "status=pending",
        "of the usual status": "status=completed",
        "of a rare status": "status=failed",
        "of two statuses": "status=failed&status=scheduled",
        "of a type": "type=shell",
        "of a pool": "pool=gpu",
        "of an agent": f"agent_id={AGENT}",
        "with a label": "label=team%3Dteam-5",
        "of a pool and a status": "pool=small&status=pending",
        "before a moment": "created_before=2023-11-14T22:13:20.001Z",
        "by the beginning of an id": "q=0190a000",
        "by a type": "q=shell",
        "by a label": "q=team%3Dteam-45",
    }
    asked = {f"tasks: {name}": f"/tasks?page_size=50&{text}" for name, text in filters.items()}
    asked |= {
        "a task that waits": f"/tasks/{examples['pending']}",
        "a task that has ended": f"/tasks/{examples['completed']}",
        "a result": f"/tasks/{examples['completed']}/result",
        "why a task waits": f"/tasks/{examples['pending']}/why",
        "why an agent has no work": f"/agents/{agent_id}/why",
        "agents": "/agents",
        "tasks of an agent": f"/agents/{agent_id}/tasks",
        "sessions of an agent": f"/agents/{agent_id}/sessions",
        "limits": "/limits",
        "scheduler": "/scheduler/status",
        "statistics": "/stats",
    }
    return [Question(name, f"/api/v1{path}", []) for name, path in asked.items()]


async def ask(http: httpx.AsyncClient, asked: Sequence[Question], rounds: int) -> None:
    """Ask everything so many times, in turn, after once that is not counted."""
    for number in range(rounds + 1):
        for question in asked:
            began = time.perf_counter()
            answer = await http.get(question.path)
            took = (time.perf_counter() - began) * 1000
            assert answer.status_code == 200, f"{question.path}: {answer.status_code} {answer.text[:200]}"
            if number:
                question.times.append(took)


async def measure(directory: Path, *, tasks: int, rounds: int) -> list[Question]:
    """Fill a database, start a server on it, and ask."""
    examples = await fill(directory, tasks)
    async with system(directory, slots=1) as running:
        addresses = json.loads((directory / "addresses.json").read_text())
        async with httpx.AsyncClient(base_url=addresses["http"], timeout=60) as http:
            [agent] = (await http.get("/api/v1/agents")).json()["agents"]
            asked = questions(examples, agent["id"])
            await ask(http, asked, rounds)
        assert running.address
    return asked


def table(asked: Sequence[Question]) -> str:
    """The questions with their medians, the slowest last."""
    rows = sorted(((statistics.median(one.times), one) for one in asked), key=lambda row: row[0])
    lines = [f"{'':36} {'p50 ms':>8} {'p99 ms':>8}"]
    for median, one in rows:
        p99 = statistics.quantiles(one.times, n=100, method="inclusive")[98]
        lines.append(f"{one.name:36} {median:8.2f} {p99:8.2f} {'' if median <= GOAL_MS else 'over the goal'}")
    worst = rows[-1][0]
    lines.append(f"the slowest p50 ÷ the goal of {GOAL_MS:.0f} ms: {worst / GOAL_MS:.2f} (<= 1)")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.database", description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--directory", type=Path, help="where to put the database; the system's own if not given")
    given = parser.parse_args(argv)
    tasks = max(PER_COMMIT * 10, given.tasks // PER_COMMIT * PER_COMMIT)
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        asked = asyncio.run(measure(Path(directory), tasks=tasks, rounds=given.rounds))
    sys.stdout.write(table(asked) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
