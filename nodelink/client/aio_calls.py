"""The calls of the asynchronous client: what is tried again, what goes on where it broke, and what waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from nodelink.client.aio_connection import Connection
from nodelink.client.asks import Ask, Follow, Page
from nodelink.client.awaited import Poll
from nodelink.client.failures import error_of
from nodelink.client.patience import Heard
from nodelink.errors import LinkLost, NodelinkError

_Result = TypeVar("_Result")


class Calls:
    """Makes the calls of one client. Whatever is still needed of a client holds these, and so its connection open."""

    def __init__(self, connection: Connection, *, timeout: float) -> None:
        self._connection = connection
        self._peer = connection.peer
        self._timeout = timeout

    async def ask(self, ask: Ask[_Result]) -> _Result:
        """An answer within the client's timeout. What may safely be asked twice, and may pass, is tried again."""
        method = ask.call(self._connection.stubs)
        tries = self._peer.new_tries(self._timeout)
        while True:
            try:
                return ask.read(await self._once(method, ask.request, tries.seconds_left))
            except NodelinkError as error:
                self._peer.heard(error)
                if not ask.safe:
                    raise
                await self._connection.pause(tries.delay_after(error))

    async def pages(
        self, page_at: Callable[[int | None, str], Ask[Page[_Result]]], *, limit: int | None = None
    ) -> AsyncGenerator[_Result, None]:
        """What stands on all pages, each asked for when it is needed: with how much is left to be read, and a token."""
        left, token = limit, ""
        while left is None or left > 0:
            page = await self.ask(page_at(left, token))
            for item in page.items:
                yield item
            left = None if left is None else left - len(page.items)
            token = page.next_token
            if not token:
                return

    async def poll(self, what: Poll, *, timeout: float | None) -> None:
        """Ask again and again until all is heard, or so many seconds are over."""
        method = what.call(self._connection.stubs)
        poll = self._peer.new_poll(timeout)
        patience = self._peer.new_patience()
        while True:
            seconds = poll.next_seconds()
            try:
                told = what.take(await self._once(method, what.request(round(seconds * 1000)), self._timeout + seconds))
            except NodelinkError as error:
                self._peer.heard(error)
                delay = patience.delay_after(error)
                if poll.is_over:
                    raise
                await self._connection.pause(delay)
                continue
            patience.heard()
            if told is Heard.ALL or poll.is_over:
                return
            await self._connection.pause(poll.pause_after(told))

    async def stream(self, follow: Follow[_Result]) -> AsyncGenerator[_Result, None]:
        """What the answers of one call say. It ends when nobody reads them any more."""
        async with aclosing(self._answers(follow)) as answers:
            async for answer in answers:
                yield follow.read(answer)

    async def resumed(self, follow: Follow[_Result], *, timeout: float | None = None) -> AsyncGenerator[_Result, None]:
        """What the answers of a call say that is made again where it broke, for so many seconds."""
        patience, time_left = self._peer.new_patience(), self._peer.new_time(timeout)
        while True:
            try:
                async with aclosing(self._answers(follow, time_left.seconds)) as answers:
                    async for answer in answers:
                        patience.heard()
                        is_last = follow.went_on(follow.request, answer)
                        yield follow.read(answer)
                        if is_last:
                            return
                raise LinkLost(f"the server at {self._peer.address} ended the stream")
            except NodelinkError as error:
                if time_left.is_over:
                    return
                self._peer.heard(error)
                await self._connection.pause(patience.delay_after(error))

    async def _once(self, method: Any, request: Any, seconds: float) -> Any:
        """One try. Raises our own errors."""
        self._connection.check()
        try:
            answer = await method(request, timeout=seconds)
        except asyncio.CancelledError:
            self._connection.check_cancelled()
            raise
        except grpc.RpcError as error:
            raise error_of(error, self._peer.address) from error
        self._peer.heard()
        return answer

    async def _answers(self, follow: Follow[Any], seconds: float | None = None) -> AsyncGenerator[Any, None]:
        self._connection.check()
        call = follow.call(self._connection.stubs)(follow.request, timeout=seconds)
        try:
            async for answer in call:
                self._peer.heard()
                yield answer
        except asyncio.CancelledError:
            self._connection.check_cancelled()
            raise
        except grpc.RpcError as error:
            raise error_of(error, self._peer.address) from error
        finally:
            call.cancel()
