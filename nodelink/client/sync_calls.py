"""The calls of the synchronous client: what is tried again, what goes on where it broke, and what waits for long."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar

import grpc

from nodelink.client.asks import Ask, Follow, Page
from nodelink.client.awaited import Poll
from nodelink.client.failures import error_of
from nodelink.client.patience import Heard
from nodelink.client.sync_connection import Connection
from nodelink.errors import LinkLost, NodelinkError

_Result = TypeVar("_Result")


class Calls:
    """Makes the calls of one client. Whatever is still needed of a client holds these, and so its connection open."""

    def __init__(self, connection: Connection, *, timeout: float) -> None:
        self._connection = connection
        self._peer = connection.peer
        self._timeout = timeout

    def ask(self, ask: Ask[_Result]) -> _Result:
        """An answer within the client's timeout. What may safely be asked twice, and may pass, is tried again."""
        method = ask.call(self._connection.stubs)
        tries = self._peer.new_tries(self._timeout)
        while True:
            try:
                return ask.read(self._once(method, ask.request, tries.seconds_left))
            except NodelinkError as error:
                self._peer.heard(error)
                if not ask.safe:
                    raise
                self._connection.pause(tries.delay_after(error))

    def pages(
        self, page_at: Callable[[int | None, str], Ask[Page[_Result]]], *, limit: int | None = None
    ) -> Generator[_Result, None, None]:
        """What stands on all pages, each asked for when it is needed: with how much is left to be read, and a token."""
        left, token = limit, ""
        while left is None or left > 0:
            page = self.ask(page_at(left, token))
            yield from page.items
            left = None if left is None else left - len(page.items)
            token = page.next_token
            if not token:
                return

    def poll(self, what: Poll, *, timeout: float | None) -> None:
        """Ask again and again until all is heard, or so many seconds are over."""
        method = what.call(self._connection.stubs)
        poll = self._peer.new_poll(timeout)
        patience = self._peer.new_patience()
        while True:
            seconds = poll.next_seconds()
            try:
                told = what.take(self._once(method, what.request(round(seconds * 1000)), self._timeout + seconds))
            except NodelinkError as error:
                self._peer.heard(error)
                delay = patience.delay_after(error)
                if poll.is_over:
                    raise
                self._connection.pause(delay)
                continue
            patience.heard()
            if told is Heard.ALL or poll.is_over:
                return
            self._connection.pause(poll.pause_after(told))

    def stream(self, follow: Follow[_Result]) -> Generator[_Result, None, None]:
        """What the answers of one call say. It ends when nobody reads them any more."""
        with closing(self._answers(follow)) as answers:
            for answer in answers:
                yield follow.read(answer)

    def resumed(self, follow: Follow[_Result], *, timeout: float | None = None) -> Generator[_Result, None, None]:
        """What the answers of a call say that is made again where it broke, for so many seconds."""
        patience, time_left = self._peer.new_patience(), self._peer.new_time(timeout)
        while True:
            try:
                for answer in self._answers(follow, time_left.seconds):
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
                self._connection.pause(patience.delay_after(error))

    def _once(self, method: Any, request: Any, seconds: float) -> Any:
        """One try. Raises our own errors."""
        self._connection.check()
        try:
            answer = method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise error_of(error, self._peer.address) from error
        except ValueError as error:  # a channel that another thread has closed at this moment
            self._connection.check()
            raise LinkLost(f"the server at {self._peer.address} cannot be called: {error}") from error
        self._peer.heard()
        return answer

    def _answers(self, follow: Follow[Any], seconds: float | None = None) -> Generator[Any, None, None]:
        self._connection.check()
        call = follow.call(self._connection.stubs)(follow.request, timeout=seconds)
        try:
            for answer in call:
                self._peer.heard()
                yield answer
        except grpc.RpcError as error:
            raise error_of(error, self._peer.address) from error
        finally:
            call.cancel()
