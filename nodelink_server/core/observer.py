"""Somebody who follows tasks from outside, for tracing. The core calls it and never depends on what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from nodelink.task import Submission
from nodelink_server.core.ports import Change

Submitting = Callable[[Sequence[Submission]], AbstractContextManager[Sequence[Submission]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """What is called, on the loop; it must neither wait nor raise.

    `submitting` is entered while tasks are being accepted, and gives them back with the trace context to keep.
    `committed` sees every change that has become durable, before anybody is told of it.
    """

    submitting: Submitting
    committed: Callable[[Sequence[Change]], None]
