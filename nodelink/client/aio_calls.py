"""The calls of the asynchronous client: what is tried again, what goes on where it broke, and what waits for long."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

import grpc

from nodelink.client.failures import error_of
from nodelink.client.patience import Heard, LongPoll, Patience, Tries
from nodelink.errors import LinkLost, NodelinkError

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class Calls:
    """Makes the calls of one client on one channel, and remembers whether the server has ever answered.

    A server that has never answered is not waited for: more likely than not, the address is wrong.
    """

    def __init__(self, server: str, channel: grpc.aio.Channel, *, timeout: float, patience: float) -> None:
        self.server = server
        self.timeout = timeout
        self.met = False
        self.is_closed = False
        """Whether there will be no more calls."""
        self._channel = channel
        self._patience_seconds = patience

    async def close(self) -> None:
        """End the connection, and whatever is under way on it."""
        self.is_closed = True
        await self._channel.close(None)

    def check(self) -> None:
        """Raise `LinkLost` if the client is closed."""
        if self.is_closed:
            raise LinkLost("this client is closed")

    def new_patience(self) -> Patience:
        """For a call that goes on for long."""
        return Patience(self._patience_seconds, monotonic=time.monotonic, random=random.random)

    def heard(self, error: NodelinkError | None = None) -> None:
        """Note what an answer, or its failure, tells about the server. Raises it if it has never answered."""
        if error is None or not isinstance(error, LinkLost):
            self.met = True
        elif not self.met:
            raise error

    # --- calls ------------------------------------------------------------------------------------------------------

    async def once(
        self, method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response], request: _Request, seconds: float
    ) -> _Response:
        """One try. Raises our own errors."""
        self.check()
        try:
            response = await method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error
        self.heard()
        return response

    async def call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response], request: _Request, *, safe: bool = True
    ) -> _Response:
        """An answer within the client's timeout. `safe`: asking twice does no harm, so what may pass is tried again."""
        tries = Tries(self.timeout, monotonic=time.monotonic, random=random.random)
        while True:
            try:
                return await self.once(method, request, tries.seconds_left)
            except NodelinkError as error:
                self.heard(error)
                if not safe:
                    raise
                await asyncio.sleep(tries.delay_after(error))

    async def poll(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response],
        request: Callable[[int], _Request],
        heard: Callable[[_Response], Heard],
        *,
        timeout: float | None,
    ) -> None:
        """Ask again and again, each time for so many milliseconds, until all is heard or the time is up."""
        poll = LongPoll(timeout, monotonic=time.monotonic)
        patience = self.new_patience()
        while True:
            seconds = poll.next_seconds()
            try:
                told = heard(await self.once(method, request(round(seconds * 1000)), self.timeout + seconds))
            except NodelinkError as error:
                self.heard(error)
                delay = patience.delay_after(error)
                if poll.is_over:
                    raise
                await asyncio.sleep(delay)
                continue
            patience.heard()
            if told is Heard.ALL or poll.is_over:
                return
            await asyncio.sleep(poll.pause_after(told))

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[_Request, _Response], request: _Request
    ) -> AsyncGenerator[_Response, None]:
        """The answers of one call, which ends when nobody reads them any more."""
        self.check()
        call: Any = method(request)
        try:
            async for response in call:
                self.heard()
                yield cast("_Response", response)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error
        finally:
            call.cancel()

    async def resumed(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[_Request, _Response],
        request: _Request,
        went_on: Callable[[_Request, _Response], bool],
    ) -> AsyncGenerator[_Response, None]:
        """The answers of a call that is made again where it broke. `went_on` moves the request behind an answer."""
        patience = self.new_patience()
        while True:
            try:
                async with aclosing(self.stream(method, request)) as responses:
                    async for response in responses:
                        patience.heard()
                        is_last = went_on(request, response)
                        yield response
                        if is_last:
                            return
                raise LinkLost(f"the server at {self.server} ended the stream")
            except NodelinkError as error:
                self.heard(error)
                await asyncio.sleep(patience.delay_after(error))
