"""Submission over gRPC: single requests, and frames of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from nodelink.errors import CallerError, FieldError, InvalidTask
from nodelink.selectors import canonical_selector
from nodelink.task import Submission, TaskSpec
from nodelink.traceparent import traceparent_or_empty
from nodelink.v1 import task_pb2
from nodelink.values import evolve
from nodelink.wire import LONGEST_KNOWN_SPEC, MOST_READ_SPECS, spec_of, without_payload
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task_record import TaskRecord

LONGEST_REFUSAL = 500
"""Characters of a refusal, so that those of a whole frame fit into its answer."""

Outcome: TypeAlias = Accepted | CallerError
Submit = Callable[[Sequence[Submission]], Awaitable[Sequence[Outcome]]]


def read_submission(request: task_pb2.SubmitTaskRequest, traceparent: str) -> Submission:
    """One request as the core takes it; `traceparent` is that of its call. Raises `InvalidTask`.

    The payload is taken out of the request: what is left is the same for many tasks, and is read once.
    """
    message, payload = without_payload(request.spec)
    return Submission(
        spec=_known_spec(message) if len(message) <= LONGEST_KNOWN_SPEC else _read_spec(message),
        payload=payload,
        idempotency_key=request.idempotency_key or None,
        traceparent=traceparent_or_empty(request.traceparent) or traceparent,
    )


def _read_spec(message: bytes) -> TaskSpec:
    spec, _ = spec_of(task_pb2.TaskSpec.FromString(message))
    return _canonical(spec) if spec.selector else spec


_known_spec = lru_cache(MOST_READ_SPECS)(_read_spec)


def _canonical(spec: TaskSpec) -> TaskSpec:
    """The same with a selector as every equal one is written. What is none is left as it is: the core refuses it."""
    try:
        return evolve(spec, selector=canonical_selector(spec.selector))
    except ValueError:
        return spec


async def submit_one(
    manager: TaskManager, request: task_pb2.SubmitTaskRequest, traceparent: str, patience_ms: int | None
) -> tuple[TaskRecord, bool]:
    """The accepted task, when it has ended if that is waited for, and whether it was there before.

    Raises the `CallerError` with which it was refused.
    """
    submission = read_submission(request, traceparent)
    (outcome,) = await manager.submit([submission])
    if isinstance(outcome, CallerError):
        raise outcome
    task = outcome.task
    if patience_ms is not None:
        return await manager.wait(task.id, patience_ms), outcome.replayed
    if outcome.replayed:
        return await manager.get(task.id), True
    return TaskRecord(task=task, payload=submission.payload, updated_at=task.created_at), False


async def submit_all(submit: Submit, requests: Iterable[task_pb2.SubmitTaskRequest], traceparent: str) -> list[Outcome]:
    """Submit the requests that can be read. One outcome for each, in order."""
    read = [_read_one_of_many(request, traceparent) for request in requests]
    submissions = [one for one in read if isinstance(one, Submission)]
    outcomes = iter(await submit(submissions) if submissions else ())
    return [next(outcomes) if isinstance(one, Submission) else one for one in read]


def _read_one_of_many(request: task_pb2.SubmitTaskRequest, traceparent: str) -> Submission | CallerError:
    try:
        if request.HasField("wait"):
            raise InvalidTask(FieldError("wait", "is for a single submission; use WaitTask afterwards"))
        return read_submission(request, traceparent)
    except CallerError as error:
        return error


def put_outcomes(
    pb: task_pb2.BatchSubmitTasksResponse | task_pb2.StreamSubmitTasksResponse, outcomes: Iterable[Outcome]
) -> None:
    """Write what became of each request."""
    for outcome in outcomes:
        if isinstance(outcome, CallerError):
            _put_refusal(pb.outcomes.add().refusal, outcome)
        elif outcome.replayed:
            pb.outcomes.add(task_id=outcome.task.id, replayed=True)
        else:
            pb.outcomes.add(task_id=outcome.task.id)


def _put_refusal(pb: task_pb2.Refusal, error: CallerError) -> None:
    pb.code = error.code
    pb.message = error.message[:LONGEST_REFUSAL]
    if isinstance(error, InvalidTask) and error.errors:
        pb.field = error.errors[0].field
