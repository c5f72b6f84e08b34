"""Deeds that make something durable and then let memory follow, one after the other.

Each is done to its end even if the caller who wanted it has gone, so that memory never lags behind the database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nodelink.errors import NodelinkError, Overloaded, StoreUnavailable

MOST_WAITING = 1_000

_T = TypeVar("_T")


class Errands:
    """Does what is handed in, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = deque()
        self._wake = asyncio.Event()
        self._is_closed = False

    async def do(self, deed: Callable[[], Awaitable[_T]]) -> _T:
        """Have a deed done, and give what came of it. Raises what it raises, `Overloaded`, or `StoreUnavailable`."""
        if self._is_closed:
            raise _stopping()
        if len(self._waiting) >= MOST_WAITING:
            raise Overloaded(retry_after=1.0)
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting.append((deed, future))
        self._wake.set()
        return await future

    async def run(self) -> None:
        """Do what is handed in, for ever."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._do_first()
        finally:
            self._is_closed = True
            for _, future in self._waiting:
                if not future.done():
                    future.set_exception(_stopping())

    async def _do_first(self) -> None:
        deed, future = self._waiting[0]
        try:
            outcome = await deed()
        except NodelinkError as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(outcome)
        self._waiting.popleft()


def _stopping() -> StoreUnavailable:
    return StoreUnavailable("the server is stopping")
