"""Tasks whose ends are waited for, and what is known of them. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import grpc

from nodelink.client.asks import Stubs
from nodelink.client.checks import text_of
from nodelink.client.nouns import Task, TaskResult
from nodelink.client.patience import Heard
from nodelink.client.reading import result_of, task_of
from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import task_pb2
from nodelink.wire import put_ms

MOST_AWAITED = 1_000
"""How many tasks one call may wait for."""

Poll: TypeAlias = "AwaitedTask | Awaited"
"""What is asked again and again until all is heard."""


class AwaitedTask:
    """Asks for one task until it has ended."""

    def __init__(self, task_id: str) -> None:
        self._task_id = text_of("task_id", task_id)
        self._found: Task | None = None

    def call(self, on: Stubs) -> grpc.UnaryUnaryMultiCallable[task_pb2.WaitTaskRequest, task_pb2.WaitTaskResponse]:
        """The call that is made."""
        return on.tasks.WaitTask

    def request(self, timeout_ms: int) -> task_pb2.WaitTaskRequest:
        """What to ask next."""
        request = task_pb2.WaitTaskRequest(task_id=self._task_id)
        put_ms(request.timeout, timeout_ms)
        return request

    def take(self, answer: task_pb2.WaitTaskResponse) -> Heard:
        """Note how it stands."""
        self._found = task_of(answer.task)
        return Heard.ALL if self._found.is_terminal else Heard.NOTHING

    @property
    def found(self) -> Task:
        """The task as it stood when the server last answered."""
        assert self._found is not None, "whoever waits has asked at least once"
        return self._found


class Awaited:
    """Asks for the ends of some tasks, a thousand at a time, until all have ended; or only until the first has."""

    def __init__(self, task_ids: Iterable[str], *, all: bool) -> None:
        """Raises `InvalidTask` for more tasks than the first of them can be found among."""
        self._asked = list(dict.fromkeys(text_of("task_ids", task_id) for task_id in task_ids))
        self._left = dict.fromkeys(self._asked)
        self._all = all
        self._ended: dict[str, TaskResult] = {}
        if not all and len(self._asked) > MOST_AWAITED:
            raise InvalidTask(FieldError("task_ids", f"the first of at most {MOST_AWAITED:,} tasks can be waited for"))

    def __bool__(self) -> bool:
        """Whether there is something left to wait for."""
        return bool(self._left)

    def call(self, on: Stubs) -> grpc.UnaryUnaryMultiCallable[task_pb2.WaitTasksRequest, task_pb2.WaitTasksResponse]:
        """The call that is made."""
        return on.tasks.WaitTasks

    def request(self, timeout_ms: int) -> task_pb2.WaitTasksRequest:
        """What to ask next."""
        ids = [task_id for task_id, _ in zip(self._left, range(MOST_AWAITED), strict=False)]
        request = task_pb2.WaitTasksRequest(task_ids=ids, all=self._all)
        put_ms(request.timeout, timeout_ms)
        return request

    def take(self, answer: task_pb2.WaitTasksResponse) -> Heard:
        """Note what has ended. `ALL`: nothing more needs to be asked."""
        for pb in answer.results:
            self._ended[pb.task_id] = result_of(pb)
            self._left.pop(pb.task_id, None)
        if not self._left or (self._ended and not self._all):
            return Heard.ALL
        return Heard.SOME if answer.results else Heard.NOTHING

    @property
    def ended(self) -> list[TaskResult]:
        """The results so far, in the order in which the tasks were named."""
        return [self._ended[task_id] for task_id in self._asked if task_id in self._ended]
