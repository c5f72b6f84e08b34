"""Calls that are carried out once: whoever asks again under the same key is given the first answer, for a day."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nodelink.errors import IdempotencyConflict
from nodelink_server.core.ports import Answer, Clock, IdempotencyKey, Store


class Answers:
    """Keeps answers under their callers' keys. Of those who ask at once under one key, the later wait for the first."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._under_way: dict[tuple[str, str], asyncio.Event] = {}

    async def once(self, key: IdempotencyKey, deed: Callable[[], Awaitable[str]]) -> tuple[str, bool]:
        """What a deed came to, and whether that was kept from an earlier call.

        Raises what the deed raises: then nothing is kept, as when it is cancelled. `IdempotencyConflict`: the key
        stands for another request. `StoreUnavailable`: it may be done, and its answer is not kept.
        """
        name = (key.caller, key.key)
        while (other := self._under_way.get(name)) is not None:
            await other.wait()
        over = self._under_way[name] = asyncio.Event()
        try:
            return await self._once(key, deed)
        finally:
            del self._under_way[name]
            over.set()

    async def _once(self, key: IdempotencyKey, deed: Callable[[], Awaitable[str]]) -> tuple[str, bool]:
        kept = await self._store.answer(key.caller, key.key)
        if kept is None:
            answer = await deed()
            await self._store.keep_answer(Answer(key, answer, self._clock.now()))
            return answer, False
        if kept.key.digest != key.digest:
            raise IdempotencyConflict
        return kept.answer, True
