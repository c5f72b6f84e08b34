"""The active tasks, as other threads see them."""

from __future__ import annotations

import threading

from nodelink.task import Progress, TaskStatus
from nodelink_server.core.registry import TaskRegistry
from tests.support.core_parts import make_task

ROUNDS = 300
TASKS = 50
READERS = 4


def test_readers_in_other_threads_never_see_half_a_commit() -> None:
    registry, done, torn, looks = TaskRegistry(), threading.Event(), [], [0] * READERS

    def read(reader: int) -> None:
        while not done.is_set() or not looks[reader]:
            revisions = {task.revision for task in registry.snapshot()}
            looks[reader] += 1
            if len(revisions) > 1:
                torn.append(revisions)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for reader in readers:
        reader.start()
    for revision in range(1, ROUNDS):
        registry.swap(put=[make_task(f"t{n}", revision=revision) for n in range(TASKS)])
    done.set()
    for reader in readers:
        reader.join(timeout=10)

    assert not torn
    assert all(looks)


def test_a_batch_replaces_and_removes_at_once() -> None:
    registry = TaskRegistry()
    registry.swap(put=[make_task("t1"), make_task("t2")])

    registry.swap(put=[make_task("t3")], drop=["t1"])

    assert sorted(task.id for task in registry.snapshot()) == ["t2", "t3"]
    assert len(registry) == 2


def test_an_older_value_never_replaces_a_newer_one() -> None:
    registry = TaskRegistry()
    registry.swap(put=[make_task("t1", revision=5, status=TaskStatus.SENT)])

    registry.swap(put=[make_task("t1", revision=4)])

    shown = registry.get("t1")
    assert shown is not None
    assert shown.status is TaskStatus.SENT


def test_progress_is_kept_while_its_task_is_active() -> None:
    registry = TaskRegistry()
    registry.swap(put=[make_task("t1")])

    registry.advance("t1", Progress(fraction=0.5))
    registry.advance("unknown", Progress(fraction=0.1))
    assert registry.progress("t1") == Progress(fraction=0.5)
    assert registry.progress("unknown") is None

    registry.swap(put=(), drop=["t1"])
    assert registry.progress("t1") is None
