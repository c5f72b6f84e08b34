"""How fast the store makes tasks durable, beside SQLite with nothing around it, in one run.

Each task is accepted (granted at once) and settled, as an echo task is: four row writes in two commits. `raw` writes
rows of a like width with statements of many rows and no index but that of the id; `store` is what the server calls, its
thread and the event loop included. Run it with `python -m benchmarks.store [--tasks N] [--directory D]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.raw_sqlite import Measured, measure_raw
from nodelink.task import Execution, Finished, LogStream, Outcome, TaskSpec
from nodelink_server.core.ports import Batch, Change, EventName
from nodelink_server.core.task import Task, granted, ready, settled, stamp, started
from nodelink_server.store.sql import open_store

BATCHES = (256, 1024)
NOW = 1_700_000_000_000
AGENT = "0190a000-0000-7000-8000-00000000000a"
ACCEPTED = (EventName.TASK_CREATED, EventName.TASK_PENDING, EventName.TASK_SENT)
SETTLED = (EventName.TASK_STARTED, EventName.TASK_COMPLETED)


def new_task(number: int) -> Task:
    """A waiting echo task that is granted at once."""
    task = Task(
        id=f"0190a000-0000-7000-8000-{number:012x}",
        spec=TaskSpec(type="echo"),
        execution=Execution.REPLAYABLE,
        created_at=NOW,
        payload=b'"' + b"x" * 62 + b'"',
    )
    waiting = ready(task, rank=number, now=NOW, queue_deadline=None)
    return granted(waiting, agent_id=AGENT, session=1, fence=(1 << 32) + number, now=NOW)


def accepting(first: int, count: int) -> list[Change]:
    """Changes that bring new tasks in."""
    return [Change(task=new_task(first + i), expected=0, events=ACCEPTED) for i in range(count)]


def settling(accepted: Sequence[Change]) -> list[Change]:
    """Changes that end them."""
    end = Finished(outcome=Outcome.COMPLETED, output=b'"' + b"x" * 62 + b'"', log_totals={LogStream.STDOUT: 0})
    return [
        Change(
            task=settled(started(change.task, at=NOW), end, now=NOW),
            expected=change.task.revision,
            events=SETTLED,
            finished=end,
        )
        for change in accepted
    ]


async def measure_store(directory: Path, tasks: int, batch: int) -> Measured:
    """The store, through its own door. The making of the values is not counted."""
    async with open_store(f"sqlite:///{directory}/store.db", ids=lambda: "benchmark") as store:
        await store.boot(NOW)
        seconds, cpu = 0.0, 0.0
        for first in range(0, tasks, batch):
            changes = accepting(first, batch)
            for step in (changes, None):
                made = step if step is not None else settling(changes)
                began, began_cpu = time.perf_counter(), time.process_time()
                receipt = await store.apply(Batch(now=NOW, control_ms=first, changes=made))
                seconds += time.perf_counter() - began
                cpu += time.process_time() - began_cpu
                for change, revision, key in zip(made, receipt.revisions, receipt.keys, strict=True):
                    assert revision
                    stamp(change.task, key=key, revision=revision)
    return Measured("store", batch, tasks / seconds, cpu / tasks * 1e6)


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=61_440)
    parser.add_argument("--directory", type=Path, default=None, help="on a real disk; the default is a temporary one")
    arguments = parser.parse_args()
    lines: list[dict[str, object]] = []
    print(f"{'':8} {'batch':>6} {'tasks/s':>9} {'CPU µs/task':>12} {'÷ raw':>6}")
    for batch in BATCHES:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            tasks = arguments.tasks // batch * batch
            raw = measure_raw(Path(directory), tasks, batch)
            store = asyncio.run(measure_store(Path(directory), tasks, batch))
        for line in (raw, store):
            ratio = line.tasks_per_second / raw.tasks_per_second
            print(f"{line.name:8} {batch:6} {line.tasks_per_second:9.0f} {line.cpu_microseconds:12.1f} {ratio:6.2f}")
            lines.append({"name": line.name, "batch": batch, "tasks_per_second": line.tasks_per_second, "ratio": ratio})
    json.dump(lines, sys.stdout)
    print()


if __name__ == "__main__":
    main()
