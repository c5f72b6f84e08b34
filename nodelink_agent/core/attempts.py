"""Every attempt that the agent holds, and how it stands.

A greater fence supersedes a smaller one of the same task, and a task never runs twice at a time: an attempt that counts
no more is *dying* until its processes are gone, and its successor waits for that.
"""

from __future__ import annotations

from nodelink.task import AttemptRef, HeldAttempt, HeldState, TaskRequest


class Attempt:
    """One execution. Its request is kept only while it waits."""

    __slots__ = ("ref", "request", "state", "stop_asked")

    def __init__(self, ref: AttemptRef) -> None:
        self.ref = ref
        self.state = HeldState.RUNNING
        self.request: TaskRequest | None = None
        self.stop_asked = False


class Attempts:
    """The attempts by name. Callers ask only about what they were told, and unknown names are never an error."""

    def __init__(self) -> None:
        self._held: dict[AttemptRef, Attempt] = {}
        self._newest: dict[str, AttemptRef] = {}
        self._dying: dict[str, AttemptRef] = {}
        self.lingering = 0
        """How many have only output left to deliver."""
        self._live = 0

    @property
    def active(self) -> int:
        """How many wait, run or die, and so take a slot."""
        return self._live + len(self._dying)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held and nothing dies."""
        return not self._held and not self._dying

    def state(self, ref: AttemptRef) -> HeldState | None:
        """How it stands; None: it is not held."""
        attempt = self._held.get(ref)
        return attempt.state if attempt is not None else None

    def newest(self, task_id: str) -> AttemptRef | None:
        """The attempt of a task that counts, if one is held."""
        return self._newest.get(task_id)

    def add(self, request: TaskRequest) -> bool:
        """Hold a new attempt. True: it runs from now; False: it waits until its predecessor is gone."""
        ref = request.ref
        attempt = self._held[ref] = Attempt(ref)
        self._newest[ref.task_id] = ref
        self._live += 1
        if ref.task_id not in self._dying:
            return True
        attempt.state = HeldState.WAITING
        attempt.request = request
        return False

    def ask_stop(self, ref: AttemptRef) -> HeldState | None:
        """The state of an attempt that has now to be stopped for the first time; None: there is nothing to do."""
        attempt = self._held.get(ref)
        if attempt is None or attempt.stop_asked or attempt.state in {HeldState.ENDED, HeldState.LOGS_ONLY}:
            return None
        attempt.stop_asked = True
        return attempt.state

    def end(self, ref: AttemptRef) -> bool:
        """Its work is over, or will never begin. False: it was not live, and what it has to tell counts no more."""
        attempt = self._held.get(ref)
        if attempt is None or attempt.state in {HeldState.ENDED, HeldState.LOGS_ONLY}:
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
        self._dying[ref.task_id] = ref
        return True

    def gone(self, ref: AttemptRef) -> bool:
        """A dying attempt has ended. False: it was not dying."""
        if self._dying.get(ref.task_id) != ref:
            return False
        del self._dying[ref.task_id]
        return True

    def begin_waiting(self, task_id: str) -> list[TaskRequest]:
        """The request of the attempt that waited for its predecessor to be gone, if one did. It runs from now."""
        ref = self._newest.get(task_id)
        attempt = self._held[ref] if ref is not None else None
        if attempt is None or attempt.request is None:
            return []
        request, attempt.request = attempt.request, None
        attempt.state = HeldState.RUNNING
        return [request]

    def held(self) -> list[HeldAttempt]:
        """Everything that a hello has to list."""
        return [HeldAttempt(attempt.ref, attempt.state) for attempt in self._held.values()]

    def running(self) -> list[AttemptRef]:
        """What runs or waits to: a heartbeat names these."""
        if not self._live:
            return []
        live = (HeldState.RUNNING, HeldState.WAITING)
        return [attempt.ref for attempt in self._held.values() if attempt.state in live]
