"""Every store, by one name: a test that asks for `store` or `database` runs over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from nodelink_server.core.ports import Store
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.store.sql import open_store


class Database:
    """What survives when a store is closed, and can be opened again."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._kind = kind
        self._disk = Disk()
        self.url = f"sqlite:///{directory}/nodelink.db"

    def open(self) -> AbstractAsyncContextManager[Store]:
        """Open it, as a starting server does."""
        return _in_memory(self._disk) if self._kind == "memory" else _in_sqlite(self.url)


@asynccontextmanager
async def _in_memory(disk: Disk) -> AsyncIterator[Store]:
    yield MemoryStore(disk)


@asynccontextmanager
async def _in_sqlite(url: str) -> AsyncIterator[Store]:
    async with open_store(url, ids=lambda: "cluster") as store:
        yield store


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return Database(request.param, tmp_path)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with database.open() as store:
        await store.boot(0)
        yield store
