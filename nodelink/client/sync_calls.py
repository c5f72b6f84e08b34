"""The calls of the synchronous client: what is tried again, what goes on where it broke, and what waits for long."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Generator
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

    def __init__(self, server: str, channel: grpc.Channel, *, timeout: float, patience: float) -> None:
        self.server = server
        self.timeout = timeout
        self.met = False
        self._channel = channel
        self._patience_seconds = patience
        self._closed = threading.Event()
        self._process = os.getpid()

    @property
    def is_closed(self) -> bool:
        """Whether there will be no more calls."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the connection, and whatever is under way on it."""
        self._closed.set()
        self._channel.close()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a child of the process that has made the client: neither threads nor gRPC came along."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Raise `LinkLost` if the client is closed, and RuntimeError in a process that has inherited it."""
        self.check_process()
        if self._closed.is_set():
            raise LinkLost("this client is closed")

    def check_process(self) -> None:
        """Raise RuntimeError in a process that has inherited the client."""
        if self.is_inherited:
            raise RuntimeError("this client was made by another process; make a new one after the fork")

    def pause(self, seconds: float) -> None:
        """Wait a while. Raises `LinkLost` as soon as the client is closed."""
        if self._closed.wait(seconds):
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

    def once(
        self, method: grpc.UnaryUnaryMultiCallable[_Request, _Response], request: _Request, seconds: float
    ) -> _Response:
        """One try. Raises our own errors."""
        self.check()
        try:
            response = method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error
        except ValueError as error:  # a channel that another thread has closed at this moment
            self.check()
            raise LinkLost(f"the server at {self.server} cannot be called: {error}") from error
        self.heard()
        return response

    def call(
        self, method: grpc.UnaryUnaryMultiCallable[_Request, _Response], request: _Request, *, safe: bool = True
    ) -> _Response:
        """An answer within the client's timeout. `safe`: asking twice does no harm, so what may pass is tried again."""
        tries = Tries(self.timeout, monotonic=time.monotonic, random=random.random)
        while True:
            try:
                return self.once(method, request, tries.seconds_left)
            except NodelinkError as error:
                self.heard(error)
                if not safe:
                    raise
                self.pause(tries.delay_after(error))

    def poll(
        self,
        method: grpc.UnaryUnaryMultiCallable[_Request, _Response],
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
                told = heard(self.once(method, request(round(seconds * 1000)), self.timeout + seconds))
            except NodelinkError as error:
                self.heard(error)
                delay = patience.delay_after(error)
                if poll.is_over:
                    raise
                self.pause(delay)
                continue
            patience.heard()
            if told is Heard.ALL or poll.is_over:
                return
            self.pause(poll.pause_after(told))

    def stream(
        self, method: grpc.UnaryStreamMultiCallable[_Request, _Response], request: _Request
    ) -> Generator[_Response, None, None]:
        """The answers of one call, which ends when nobody reads them any more."""
        self.check()
        call: Any = method(request)
        try:
            for response in call:
                self.heard()
                yield cast("_Response", response)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error
        finally:
            call.cancel()

    def resumed(
        self,
        method: grpc.UnaryStreamMultiCallable[_Request, _Response],
        request: _Request,
        went_on: Callable[[_Request, _Response], bool],
    ) -> Generator[_Response, None, None]:
        """The answers of a call that is made again where it broke. `went_on` moves the request behind an answer."""
        patience = self.new_patience()
        while True:
            try:
                for response in self.stream(method, request):
                    patience.heard()
                    is_last = went_on(request, response)
                    yield response
                    if is_last:
                        return
                raise LinkLost(f"the server at {self.server} ended the stream")
            except NodelinkError as error:
                self.heard(error)
                self.pause(patience.delay_after(error))
