"""Between the nouns and their protobuf twins: the only file that knows both.

`put_*` writes a noun into a message that is already part of its frame (`frame.responses.add()`): three times faster
than building a message and having it copied. `*_of` reads a message, and returns None where it carries nothing that
this version understands; the caller counts that. Nothing here judges values: that is the core's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import (
    DEFAULT_GRACE_MS,
    DEFAULT_POOL,
    DEFAULT_PRIORITY,
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    ErrorCategory,
    Execution,
    Finished,
    HeldAttempt,
    HeldState,
    LogAck,
    LogChunk,
    LogStream,
    Outcome,
    Progress,
    Reason,
    ResultAck,
    Started,
    TaskError,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    TaskStatus,
    Update,
    Verdict,
    VerdictAction,
)
from nodelink.traceparent import traceparent_or_empty
from nodelink.v1 import agent_pb2, task_pb2

TRACEPARENT = "traceparent"
"""The key of the W3C trace context in a TaskRequest."""

# --- enums: a table each way; what is not in it is not known --------------------------------------------------------

_Known = TypeVar("_Known", bound=StrEnum)


def _numbers(enum: type[_Known], numbers: Any, prefix: str) -> dict[_Known, Any]:
    return {member: numbers.Value(f"{prefix}_{member.name}") for member in enum}


def _members(numbers: Mapping[_Known, int]) -> dict[int, _Known]:
    return {number: member for member, number in numbers.items()}


STATUS_TO_PB = _numbers(TaskStatus, task_pb2.TaskStatus, "TASK_STATUS")
STATUS_FROM_PB = _members(STATUS_TO_PB)
EXECUTION_TO_PB = _numbers(Execution, task_pb2.Execution, "EXECUTION")
EXECUTION_FROM_PB = _members(EXECUTION_TO_PB)
STREAM_TO_PB = _numbers(LogStream, task_pb2.LogStream, "LOG_STREAM")
STREAM_FROM_PB = _members(STREAM_TO_PB)
OUTCOME_TO_PB = _numbers(Outcome, agent_pb2.Outcome, "OUTCOME")
OUTCOME_FROM_PB = _members(OUTCOME_TO_PB)
HELD_TO_PB = _numbers(HeldState, agent_pb2.HeldState, "HELD_STATE")
HELD_FROM_PB = _members(HELD_TO_PB)
ACTION_TO_PB = _numbers(VerdictAction, agent_pb2.VerdictAction, "VERDICT_ACTION")
ACTION_FROM_PB = _members(ACTION_TO_PB)
DISPOSITION_TO_PB = _numbers(AckDisposition, agent_pb2.AckDisposition, "ACK_DISPOSITION")
DISPOSITION_FROM_PB = _members(DISPOSITION_TO_PB)

REASONS: Mapping[str, Reason] = {reason.value: reason for reason in Reason}
CATEGORIES: Mapping[str, ErrorCategory] = {category.value: category for category in ErrorCategory}


# --- time -----------------------------------------------------------------------------------------------------------


def put_ms(pb: Duration | Timestamp, ms: int) -> None:
    """Write milliseconds: a duration, or a moment since the epoch. A zero still marks the field as set."""
    pb.SetInParent()
    pb.seconds, rest = divmod(ms, 1000)
    pb.nanos = rest * 1_000_000
    if pb.seconds < 0 and pb.nanos and isinstance(pb, Duration):  # both parts of a duration have one sign
        pb.seconds += 1
        pb.nanos -= 1_000_000_000


def ms_of(pb: Duration | Timestamp) -> int:
    """Read whole milliseconds, rounded towards zero for durations."""
    if pb.nanos < 0:
        return pb.seconds * 1000 - (-pb.nanos // 1_000_000)
    return pb.seconds * 1000 + pb.nanos // 1_000_000


# --- tasks ----------------------------------------------------------------------------------------------------------


def put_spec(pb: task_pb2.TaskSpec, spec: TaskSpec, payload: bytes) -> None:
    """Write what was asked, payload included."""
    pb.type = spec.type
    pb.payload = payload
    pb.pool = spec.pool
    pb.priority = spec.priority
    if spec.timeout_ms is not None:
        put_ms(pb.timeout, spec.timeout_ms)
    if spec.queue_timeout_ms is not None:
        put_ms(pb.queue_timeout, spec.queue_timeout_ms)
    if spec.scheduled_at is not None:
        put_ms(pb.scheduled_at, spec.scheduled_at)
    if spec.delay_ms is not None:
        put_ms(pb.delay, spec.delay_ms)
    if spec.execution is not None:
        pb.execution = EXECUTION_TO_PB[spec.execution]
    if spec.metadata:
        pb.metadata.update(spec.metadata)


def spec_bytes(spec: TaskSpec, payload: bytes) -> bytes:
    """What was asked as the bytes that a TaskRequest carries."""
    pb = task_pb2.TaskSpec()
    put_spec(pb, spec, payload)
    return pb.SerializeToString()


def spec_of(pb: task_pb2.TaskSpec) -> tuple[TaskSpec, bytes]:
    """What is asked, defaults filled in, and its payload. InvalidTask: a class that this version does not know."""
    if pb.execution and pb.execution not in EXECUTION_FROM_PB:
        known = ", ".join(sorted(execution.value for execution in Execution))
        raise InvalidTask(FieldError("execution", f"{pb.execution} is not known; use one of {known}"))
    return _spec_of(pb, EXECUTION_FROM_PB.get(pb.execution)), pb.payload


def _spec_of(pb: task_pb2.TaskSpec, execution: Execution | None) -> TaskSpec:
    return TaskSpec(
        type=pb.type,
        pool=pb.pool or DEFAULT_POOL,
        priority=pb.priority or DEFAULT_PRIORITY,
        timeout_ms=ms_of(pb.timeout) if pb.HasField("timeout") else None,
        queue_timeout_ms=ms_of(pb.queue_timeout) if pb.HasField("queue_timeout") else None,
        scheduled_at=ms_of(pb.scheduled_at) if pb.HasField("scheduled_at") else None,
        delay_ms=ms_of(pb.delay) if pb.HasField("delay") else None,
        execution=execution,
        metadata=dict(pb.metadata) if pb.metadata else {},  # iterating over a map is slow
    )


def put_ref(pb: agent_pb2.AttemptRef, ref: AttemptRef) -> None:
    """Write the name of an execution."""
    pb.task_id, pb.attempt, pb.fence = ref


def ref_of(pb: agent_pb2.AttemptRef) -> AttemptRef:
    """Read the name of an execution."""
    return AttemptRef(pb.task_id, pb.attempt, pb.fence)


def put_task_request(
    pb: agent_pb2.TaskRequest, ref: AttemptRef, spec: bytes, execution: Execution, traceparent: str = ""
) -> None:
    """Write a granted task; `spec` is what `spec_bytes` made."""
    put_ref(pb.ref, ref)
    pb.spec = spec
    pb.execution = EXECUTION_TO_PB[execution]
    pb.granted = True
    if traceparent:
        pb.trace_context[TRACEPARENT] = traceparent


def task_request_of(pb: agent_pb2.TaskRequest) -> TaskRequest | None:
    """Read a task that an agent is given. None: its spec cannot be read."""
    try:
        spec = task_pb2.TaskSpec.FromString(pb.spec)
    except DecodeError:
        return None
    return TaskRequest(
        ref=ref_of(pb.ref),
        spec=_spec_of(spec, EXECUTION_FROM_PB.get(pb.execution)),
        payload=spec.payload,
        traceparent=traceparent_or_empty(pb.trace_context.get(TRACEPARENT)) if pb.trace_context else "",
    )


# --- responses ------------------------------------------------------------------------------------------------------


def put_task_response(pb: agent_pb2.TaskResponse, response: TaskResponse) -> None:
    """Write what an agent says about an attempt."""
    ref, update = response
    put_ref(pb.ref, ref)
    match update:
        case Finished():
            _put_finished(pb.finished, update)
        case Started():
            pb.started.SetInParent()
            if update.ago_ms:
                put_ms(pb.started.ago, update.ago_ms)
            pb.started.containment = update.containment
        case Progress():
            pb.progress.SetInParent()
            pb.progress.fraction = update.fraction
            pb.progress.message = update.message
        case Declined():
            pb.declined.SetInParent()
            pb.declined.message = update.message


def _put_finished(pb: agent_pb2.Finished, finished: Finished) -> None:
    pb.outcome = OUTCOME_TO_PB[finished.outcome]
    pb.reason = finished.reason
    pb.output = finished.output
    pb.run_seconds = finished.run_seconds
    pb.tree_gone = finished.tree_gone
    if finished.exit_code is not None:
        pb.exit_code = finished.exit_code
    if finished.signal is not None:
        pb.signal = finished.signal
    if finished.error is not None:
        pb.error.category = finished.error.category
        pb.error.message = finished.error.message
    if finished.cpu_seconds:
        pb.cpu_seconds = finished.cpu_seconds
    if finished.max_rss_bytes:
        pb.max_rss_bytes = finished.max_rss_bytes
    for stream, length in finished.log_totals.items():
        pb.log_totals.add(stream=STREAM_TO_PB[stream], bytes=length)


def task_response_of(pb: agent_pb2.TaskResponse) -> TaskResponse | None:
    """Read what an agent says about an attempt. None: an update or an outcome that this version does not know."""
    match pb.WhichOneof("update"):
        case "finished":
            update: Update | None = _finished_of(pb.finished)
        case "started":
            update = Started(ago_ms=ms_of(pb.started.ago), containment=pb.started.containment)
        case "progress":
            update = Progress(fraction=pb.progress.fraction, message=pb.progress.message)
        case "declined":
            update = Declined(message=pb.declined.message)
        case _:
            update = None
    return None if update is None else TaskResponse(ref_of(pb.ref), update)


def _finished_of(pb: agent_pb2.Finished) -> Finished | None:
    outcome = OUTCOME_FROM_PB.get(pb.outcome)
    if outcome is None:
        return None
    return Finished(
        outcome=outcome,
        reason=REASONS.get(pb.reason, Reason.NONE),
        exit_code=pb.exit_code if pb.HasField("exit_code") else None,
        signal=pb.signal if pb.HasField("signal") else None,
        output=pb.output,
        error=_error_of(pb.error) if pb.HasField("error") else None,
        run_seconds=pb.run_seconds,
        cpu_seconds=pb.cpu_seconds,
        max_rss_bytes=pb.max_rss_bytes,
        log_totals=_log_totals_of(pb.log_totals) if pb.log_totals else {},
        tree_gone=pb.tree_gone,
    )


def _error_of(pb: task_pb2.TaskError) -> TaskError:
    return TaskError(CATEGORIES.get(pb.category, ErrorCategory.INTERNAL), pb.message)


def _log_totals_of(totals: Iterable[agent_pb2.LogTotal]) -> dict[LogStream, int]:
    return {STREAM_FROM_PB[total.stream]: total.bytes for total in totals if total.stream in STREAM_FROM_PB}


# --- output ---------------------------------------------------------------------------------------------------------


def put_log_chunk(pb: agent_pb2.LogChunk, chunk: LogChunk) -> None:
    """Write a run of output, or a gap in it."""
    put_ref(pb.ref, chunk.ref)
    pb.stream = STREAM_TO_PB[chunk.stream]
    pb.offset = chunk.offset
    pb.data = chunk.data
    pb.gap = chunk.gap


def log_chunk_of(pb: agent_pb2.LogChunk) -> LogChunk | None:
    """Read a run of output. None: a stream that this version does not know, or both data and a gap."""
    stream = STREAM_FROM_PB.get(pb.stream)
    if stream is None or (pb.data and pb.gap):
        return None
    return LogChunk(ref_of(pb.ref), stream, pb.offset, pb.data, pb.gap)


def put_log_ack(pb: agent_pb2.LogAck, ack: LogAck) -> None:
    """Write up to where output is durable."""
    put_ref(pb.ref, ack.ref)
    pb.stream = STREAM_TO_PB[ack.stream]
    pb.offset = ack.offset


def log_ack_of(pb: agent_pb2.LogAck) -> LogAck | None:
    """Read up to where output is durable. None: a stream that this version does not know."""
    stream = STREAM_FROM_PB.get(pb.stream)
    return None if stream is None else LogAck(ref_of(pb.ref), stream, pb.offset)


# --- acknowledgement, stop, reconcile -------------------------------------------------------------------------------


def put_result_ack(pb: agent_pb2.ResultAck, ack: ResultAck) -> None:
    """Write that a result need not be sent again."""
    put_ref(pb.ref, ack.ref)
    pb.disposition = DISPOSITION_TO_PB[ack.disposition]


def result_ack_of(pb: agent_pb2.ResultAck) -> ResultAck:
    """Read that a result need not be sent again. One of an unknown disposition acknowledges all the same: as stale."""
    return ResultAck(ref_of(pb.ref), DISPOSITION_FROM_PB.get(pb.disposition, AckDisposition.STALE))


def put_cancel(pb: agent_pb2.CancelCommand, command: CancelCommand) -> None:
    """Write the stop of an attempt."""
    put_ref(pb.ref, command.ref)
    put_ms(pb.grace, command.grace_ms)
    pb.reason = command.reason


def cancel_of(pb: agent_pb2.CancelCommand) -> CancelCommand:
    """Read the stop of an attempt. No grace: the default one; a reason that is not known: the caller's wish."""
    grace = ms_of(pb.grace) if pb.HasField("grace") else DEFAULT_GRACE_MS
    return CancelCommand(ref_of(pb.ref), max(grace, 0), REASONS.get(pb.reason) or Reason.CANCELLED_BY_CALLER)


def put_held(pb: agent_pb2.HeldAttempt, held: HeldAttempt) -> None:
    """Write an attempt that an agent knows of."""
    put_ref(pb.ref, held.ref)
    pb.state = HELD_TO_PB[held.state]


def held_of(pb: agent_pb2.HeldAttempt) -> HeldAttempt:
    """Read an attempt that an agent knows of. A state that is not known is taken for running, to be careful."""
    return HeldAttempt(ref_of(pb.ref), HELD_FROM_PB.get(pb.state, HeldState.RUNNING))


def put_verdict(pb: agent_pb2.Verdict, verdict: Verdict) -> None:
    """Write what an agent is to do with an attempt."""
    put_ref(pb.ref, verdict.ref)
    pb.action = ACTION_TO_PB[verdict.action]
    for ack in verdict.logs:
        put_log_ack(pb.logs.add(), ack)


def verdict_of(pb: agent_pb2.Verdict) -> Verdict | None:
    """Read what an agent is to do with an attempt. None: an action that this version does not know."""
    action = ACTION_FROM_PB.get(pb.action)
    if action is None:
        return None
    logs = tuple(ack for ack in map(log_ack_of, pb.logs) if ack is not None)
    return Verdict(ref_of(pb.ref), action, logs)
