"""The few threads that read, each with a connection that cannot write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from nodelink.errors import StoreUnavailable
from nodelink_server.store.connections import READERS, translated

MOST_WAITING = 1_000

T = TypeVar("T")


class Readers:
    """Runs queries, each in a snapshot of its own."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix=name)
        self._waiting = 0

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What a query answers. Raises `StoreUnavailable` if the database cannot, or too many wait already."""
        if self._waiting >= MOST_WAITING:
            raise StoreUnavailable("too many queries wait for the database", retry_after=1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, query)
        finally:
            self._waiting -= 1

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return query(connection)
        except DBAPIError as error:
            known = translated(error)
            if known is None:
                raise
            raise known from error

    async def close(self) -> None:
        """Let the running queries end, and close the connections."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._engine.dispose()
