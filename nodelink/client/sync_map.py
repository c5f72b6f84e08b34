"""The results of a task for each of many submissions, for the synchronous client."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice

from nodelink.client.nouns import TaskResult
from nodelink.client.sync_handle import TaskHandle
from nodelink.client.window import Window
from nodelink.task import Submission


def mapped(
    places: Window,
    submissions: Iterator[Submission],
    submit: Callable[[Submission], TaskHandle],
    wait_any: Callable[[Sequence[str]], Sequence[TaskResult]],
) -> Generator[TaskResult, None, None]:
    """Hand in what there is place for, and give the results as they are due."""
    fresh: list[TaskHandle] = []

    def fill() -> None:
        handles = [submit(submission) for submission in islice(submissions, places.room)]
        places.room -= len(handles)
        fresh.extend(handles)

    while True:
        fill()
        places.place(handle.id for handle in fresh)
        fresh.clear()
        if not (waiting := places.waiting):
            return
        for result in places.take(wait_any(waiting)):
            yield result
            fill()
