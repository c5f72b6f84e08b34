"""An asyncio loop in virtual time, without I/O or threads. One seed, one order of events.

Nothing passes but what is asked for: when nobody is ready, time jumps to the next timer. What is ready runs in an order
drawn by chance, so that code which relies on the order of callbacks is found out; without a chance it runs in turn.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
PROCESS: ContextVar[str] = ContextVar("PROCESS", default="")
"""The process that runs. What it starts and what it waits for belongs to it; empty: the world around."""
MOST_STEPS = 20_000_000
"""A run that takes more steps than this does not come to an end."""


class Deadlock(Exception):
    """Nobody is ready, and no timer will ever change that."""


class Endless(Exception):
    """The run has taken more steps than any sensible one."""


class Call(list[Any]):
    """What is to be called: how, with which arguments, and in which context; nothing, once it is cancelled.

    As `asyncio.Handle`, without what only a loop in debug mode needs. A list, since no other object is made as fast.
    """

    __slots__ = ()

    cancel = list.clear
    """It is passed over when its turn comes."""

    def cancelled(self) -> bool:
        """Whether it is not to be called any more."""
        return not self


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set is decided by when it was made, and not by where it lies in memory: a task group that
    fails cancels what is left of it in the order of a set.
    """

    __slots__ = ("number",)
    made = 0

    def __hash__(self) -> int:
        """Asked for as soon as there is a task."""
        try:
            return self.number
        except AttributeError:
            self.number: int = NumberedTask.made
            NumberedTask.made += 1
            return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose clock is a number. `chance` gives numbers from 0 up to 1; None: first come, first served."""

    def __init__(self, chance: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._chance = chance
        self._ready: list[Call] = []
        self._due: list[tuple[float, int, Call]] = []
        self._timers = 0
        self._parked: dict[str, list[Call]] = {}
        self.steps = 0
        self.problems: list[BaseException] = []
        """What went wrong in tasks and callbacks without anybody to tell."""
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]  # a call less for each
        self.set_exception_handler(self._note_problem)
        NumberedTask.made = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def _note_problem(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.problems.append(error if error is not None else RuntimeError(context["message"]))

    # -- processes ----------------------------------------------------------------------------------------------------

    def stall(self, process: str) -> None:
        """Let nothing of a process run until `go_on`: it has been stopped, and time goes on without it."""
        self._parked.setdefault(process, [])

    def go_on(self, process: str) -> None:
        """Let a process run again, and all at once what it would have done meanwhile."""
        self._ready.extend(self._parked.pop(process, ()))

    def is_stalled(self, process: str) -> bool:
        """Whether nothing of a process runs."""
        return process in self._parked

    # -- what BaseEventLoop leaves to its subclasses ------------------------------------------------------------------

    def _process_events(self, event_list: object) -> None:
        """There is no I/O."""

    def _write_to_self(self) -> None:
        """There are no other threads."""

    # What `BaseEventLoop` does here in debug mode, and for other threads, is left out: a run consists of little else.

    def call_soon(  # type: ignore[override]  # of a handle, only its cancelling is used
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Call:
        """Have something called as soon as its turn comes."""
        call = Call((callback, args, copy_context() if context is None else context))
        self._ready.append(call)
        return call

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there is one thread

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Call:
        """Have something called after so many virtual seconds."""
        call = Call((callback, args, copy_context() if context is None else context))
        self._timers += 1
        heapq.heappush(self._due, (self._now + delay, self._timers, call))
        return call

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Call:
        """Have something called at a virtual moment."""
        call = Call((callback, args, copy_context() if context is None else context))
        self._timers += 1
        heapq.heappush(self._due, (when, self._timers, call))
        return call

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Have a coroutine run."""
        return NumberedTask(coro, loop=self, name=None if name is None else str(name), context=context)

    def _run_once(self) -> None:
        """Run everything that is ready, and what becomes ready by it, before time goes on."""
        ready, chance, parked = self._ready, self._chance, self._parked
        if not ready:
            self._jump()
        steps = self.steps
        while ready and not self._stopping:  # type: ignore[attr-defined]  # of BaseEventLoop
            if chance is None:
                call = ready.pop(0)
            else:
                place = int(chance() * len(ready))
                call = ready[place]
                ready[place] = ready[-1]
                ready.pop()
            steps += 1
            if not call or (parked and self._park(call)):
                continue
            callback, args, context = call
            try:
                context.run(callback, *args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - nobody else is told
                self.problems.append(error)
        self.steps = steps
        if steps > MOST_STEPS:
            raise Endless(f"{steps} steps in {self._now:.1f} virtual seconds")

    def _park(self, call: Call) -> bool:
        """Put aside what belongs to a process that is stalled."""
        context: Context = call[2]
        parked = self._parked.get(context.get(PROCESS, ""))
        if parked is None:
            return False
        parked.append(call)
        return True

    def _jump(self) -> None:
        """Go to the next timer, and make everything ready that is due then."""
        due, pop = self._due, heapq.heappop
        while due and not due[0][2]:
            pop(due)
        if not due:
            raise Deadlock(f"nobody is ready at {self._now:.3f} s, and nothing is timed")
        self._now = now = max(self._now, due[0][0])
        ready = self._ready
        while due and due[0][0] <= now:
            call = pop(due)[2]
            if call:
                ready.append(call)


def process_context(name: str) -> Context:
    """A context for what a process of this name begins."""
    context = copy_context()
    context.run(PROCESS.set, name)
    return context


def virtual_loop() -> VirtualLoop:
    """The loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run_virtually(main: Coroutine[Any, Any, T], *, seed: int | None = None) -> T:
    """Run a coroutine to its end on a loop of its own. The same seed gives the same order.

    Raises `Deadlock` if it can never end, and what went wrong unheard in any task.
    """
    loop = VirtualLoop(None if seed is None else random.Random(seed).random)
    collects = gc.isenabled()
    gc.disable()  # what it finds may be an open generator, whose end is a step: a seed decides when, not memory
    try:
        outcome = loop.run_until_complete(main)
        if loop.problems:
            raise loop.problems[0]
        return outcome
    finally:
        _end_tasks(loop)
        loop.close()
        if collects:
            gc.enable()


def _end_tasks(loop: VirtualLoop) -> None:
    """Cancel what still runs, so that nothing is left half done."""
    for process in list(loop._parked):
        loop.go_on(process)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
