"""A long queue costs a start and a claim nothing: 200,000 waiting tasks in the real database."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nodelink_server.core.ports import Place, Shape
from nodelink_server.store.sql import open_store
from tests.server.store.lives import NOW, accept, put, waiting

TASKS = 200_000
BATCH = 2_000


@pytest.mark.slow
async def test_a_server_starts_beside_200_000_waiting_tasks_and_claims_them_in_pages(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nodelink.db"
    async with open_store(url, ids=lambda: "cluster") as store:
        await store.boot(NOW)
        for first in range(0, TASKS, BATCH):
            numbers = range(first, first + BATCH)
            shapes = [("echo", "shell")[number % 2] for number in numbers]
            tasks = [waiting(f"t{n}", rank=n, type=type_) for n, type_ in zip(numbers, shapes, strict=True)]
            await put(store, *map(accept, tasks))

    used = time.process_time()
    async with open_store(url, ids=lambda: "cluster") as store:
        boot = await store.boot(NOW)
        place, claimed = None, []
        for _ in range(10):
            page = await store.waiting(boot.shapes[0], place, 1_000)
            claimed += [task.rank for task in page]
            place = Place(page[-1].rank, page[-1].key)
        counts = await store.counts()
    used = time.process_time() - used

    assert list(boot.shapes) == [Shape("default", "echo"), Shape("default", "shell")]
    assert claimed == list(range(0, 20_000, 2))
    assert counts.by_status == {("pending", "default"): TASKS}
    # Of CPU, not of time, and several times what it takes: to walk all rows for each page would take far more.
    assert used < 2, used
