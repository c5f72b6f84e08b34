"""Every attempt that the agent holds, and how it stands.

A greater fence supersedes a smaller one of the same task, and a task never runs twice at a time: an attempt that counts
no more is *dying* until its processes are gone, and its successor waits for that.
"""

from __future__ import annotations

from nodelink.taken import ONE_SLOT, Taken, total
from nodelink.task import AttemptRef, HeldAttempt, HeldState, TaskRequest
from nodelink_agent.core.work import NewLimits

_OVER = frozenset({HeldState.ENDED, HeldState.LOGS_ONLY})
_UNBEGUN = frozenset({HeldState.ACCEPTED, HeldState.WAITING})


class Attempt:
    """One execution. Its request is kept only until it runs."""

    __slots__ = ("extension", "limits", "ref", "request", "state", "stop_asked", "takes")

    def __init__(self, ref: AttemptRef, takes: Taken) -> None:
        self.ref = ref
        self.takes = takes
        self.state = HeldState.RUNNING
        self.request: TaskRequest | None = None
        self.stop_asked = False
        self.extension = 0
        """The number of the last extension that came."""
        self.limits: NewLimits | None = None
        """What an extension said before it ran."""


class Attempts:
    """The attempts by name. Callers ask only about what they were told, and unknown names are never an error."""

    def __init__(self) -> None:
        self._held: dict[AttemptRef, Attempt] = {}
        self._newest: dict[str, AttemptRef] = {}
        self.dying: dict[str, Attempt] = {}
        """By task, the attempt that counts no more and is not gone yet."""
        self.lingering = 0
        """How many have only output left to deliver."""
        self._live = 0

    @property
    def active(self) -> int:
        """How many are accepted, wait, run or die, and so take a slot."""
        return self._live + len(self.dying)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held and nothing dies."""
        return not self._held and not self.dying

    @property
    def holds_ended(self) -> bool:
        """Whether anything is held that is over."""
        return len(self._held) > self._live

    def state(self, ref: AttemptRef) -> HeldState | None:
        """How it stands; None: it is not held."""
        attempt = self._held.get(ref)
        return attempt.state if attempt is not None else None

    def newest(self, task_id: str) -> AttemptRef | None:
        """The attempt of a task that counts, if one is held."""
        return self._newest.get(task_id)

    def add(self, ref: AttemptRef, takes: Taken = ONE_SLOT) -> bool:
        """Hold a new attempt. It runs from now, unless `wait` says otherwise. False: it is held already."""
        if ref in self._held:
            return False
        self._held[ref] = Attempt(ref, takes)
        newest = self._newest.get(ref.task_id)
        if newest is None or newest.fence < ref.fence:
            self._newest[ref.task_id] = ref
        self._live += 1
        return True

    def wait(self, request: TaskRequest, state: HeldState) -> None:
        """What is held does not run yet: it is ACCEPTED or WAITING. Its request is kept for the start."""
        attempt = self._held[request.ref]
        attempt.state, attempt.request = state, request

    def take_waiting(self, ref: AttemptRef, state: HeldState) -> TaskRequest | None:
        """The request of an attempt that is still ACCEPTED or WAITING. It runs from now."""
        attempt = self._held.get(ref)
        if attempt is None or attempt.state is not state:
            return None
        request, attempt.request = attempt.request, None
        attempt.state = HeldState.RUNNING
        return request

    def extend(self, limits: NewLimits) -> bool:
        """Take other limits of an attempt. Whether they are to be kept now: it runs, and they have not come before.

        Those of one that does not run yet are kept for its start.
        """
        attempt = self._held.get(limits.ref)
        if attempt is None or attempt.state in _OVER or limits.number <= attempt.extension:
            return False
        attempt.extension = limits.number
        if attempt.state is HeldState.RUNNING:
            return True
        attempt.limits = limits.over(attempt.limits)
        return False

    def take_limits(self, ref: AttemptRef) -> NewLimits | None:
        """The other limits that came before an attempt ran, once."""
        attempt = self._held[ref]
        limits, attempt.limits = attempt.limits, None
        return limits

    def ask_stop(self, ref: AttemptRef) -> HeldState | None:
        """The state of an attempt that has now to be stopped for the first time; None: there is nothing to do."""
        attempt = self._held.get(ref)
        if attempt is None or attempt.stop_asked or attempt.state in _OVER:
            return None
        attempt.stop_asked = True
        return attempt.state

    def end(self, ref: AttemptRef) -> bool:
        """Its work is over, or will never begin. False: it was not live, and what it has to tell counts no more."""
        attempt = self._held.get(ref)
        if attempt is None or attempt.state in _OVER:
            return False
        attempt.state = HeldState.ENDED
        attempt.request = None
        self._live -= 1
        return True

    def linger(self, ref: AttemptRef) -> None:
        """Its result is acknowledged, its output is not."""
        attempt = self._held.get(ref)
        if attempt is not None and attempt.state is HeldState.ENDED:
            attempt.state = HeldState.LOGS_ONLY
            self.lingering += 1

    def drop(self, ref: AttemptRef) -> bool:
        """Hold it no more. True: it runs, and is dying until `gone`."""
        attempt = self._held.pop(ref, None)
        if attempt is None:
            return False
        if self._newest.get(ref.task_id) == ref:
            del self._newest[ref.task_id]
        if attempt.state is HeldState.LOGS_ONLY:
            self.lingering -= 1
        elif attempt.state is not HeldState.ENDED:
            self._live -= 1
        if attempt.state is not HeldState.RUNNING:
            return False
        self.dying[ref.task_id] = attempt
        return True

    def gone(self, ref: AttemptRef) -> bool:
        """A dying attempt has ended. False: it was not dying."""
        dying = self.dying.get(ref.task_id)
        if dying is None or dying.ref != ref:
            return False
        del self.dying[ref.task_id]
        return True

    def held(self) -> list[HeldAttempt]:
        """Everything that a hello has to list."""
        return [HeldAttempt(attempt.ref, attempt.state) for attempt in self._held.values()]

    def told(self) -> list[AttemptRef]:
        """What a heartbeat names: all whose result is not acknowledged."""
        return [attempt.ref for attempt in self._held.values() if attempt.state is not HeldState.LOGS_ONLY]

    def taken(self) -> Taken:
        """What is taken by all that a heartbeat names, until the end of it is durable, and by what dies."""
        named = [attempt for attempt in self._held.values() if attempt.state is not HeldState.LOGS_ONLY]
        return total(attempt.takes for attempt in (*named, *self.dying.values()))

    def accepted(self) -> list[AttemptRef]:
        """The offers that are accepted and not started."""
        return [attempt.ref for attempt in self._held.values() if attempt.state is HeldState.ACCEPTED]

    def unbegun(self) -> list[AttemptRef]:
        """What is held and provably has not begun."""
        return [attempt.ref for attempt in self._held.values() if attempt.state in _UNBEGUN]
