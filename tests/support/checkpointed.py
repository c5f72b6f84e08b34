"""A whole core over a real database and real checkpoints, and the next server that begins with one of them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from nodelink.ids import IdMaker
from nodelink_server.clock import SystemClock
from nodelink_server.core.assembly import Options
from nodelink_server.core.manager import TaskManager
from nodelink_server.store.checkpoint_blobs import BOUNDS, Bounds
from nodelink_server.store.checkpoint_shelf import Shelf, open_shelf
from nodelink_server.store.sql import SqlStore, open_store
from tests.support.core_parts import Core, Database


@dataclass(frozen=True, slots=True)
class Checkpointed(Core):
    """A server's core that runs over a database in a directory."""

    store: SqlStore
    shelf: Shelf
    directory: Path

    def file(self, checkpoint_id: str) -> Path:
        """Where a checkpoint is."""
        return self.directory / "checkpoints" / f"{checkpoint_id}.checkpoint"


@asynccontextmanager
async def checkpointed_core(
    directory: Path,
    *,
    options: Options | None = None,
    load: Path | None = None,
    as_waiting: bool = False,
    bounds: Bounds = BOUNDS,
) -> AsyncIterator[Checkpointed]:
    """A core that has started, from a checkpoint if one is given, and stops at the end."""
    clock = SystemClock()
    _begin(directory)
    new_id = IdMaker(now=clock.now, random_bits=random.Random(directory.name).getrandbits)
    url = f"sqlite:///{directory}/nodelink.db"
    async with (
        open_store(url, ids=new_id) as store,
        open_shelf(store, url, directory / "checkpoints", bounds=bounds) as shelf,
    ):
        _remember(directory)
        if load is not None:
            await shelf.load_file(load, now=clock.now(), as_waiting=as_waiting)
        manager = TaskManager(store=store, clock=clock, new_id=new_id, options=options, shelf=shelf)
        await manager.restore()
        async with manager.running():
            yield Checkpointed(manager, Database(), clock, store, shelf, directory)  # type: ignore[arg-type]  # a real clock


_EMPTY: dict[str, bytes] = {}
"""The files of a database in which nothing is: to make one takes a second."""


def _begin(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for name, content in _EMPTY.items():
        if not (directory / name).exists():
            (directory / name).write_bytes(content)


def _remember(directory: Path) -> None:
    """What was just made is the same for every test."""
    for name in ("nodelink.db", "logs.db") if not _EMPTY else ():
        with closing(sqlite3.connect(directory / name)) as source, closing(sqlite3.connect(":memory:")) as copy:
            source.backup(copy)
            _EMPTY[name] = copy.serialize()
