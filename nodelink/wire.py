"""Between the nouns and their protobuf twins: the only file that knows both.

`put_*` writes a noun into a message that is already part of its frame (`frame.responses.add()`): three times faster
than building a message and having it copied. `*_of` reads a message, and returns None where it carries nothing that
this version understands; the caller counts that. Nothing here judges values: that is the core's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from nodelink.errors import FieldError, InvalidTask
from nodelink.plan import Plan
from nodelink.taken import Taken
from nodelink.task import (
    DEFAULT_GRACE_MS,
    DEFAULT_POOL,
    Accepted,
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    ErrorCategory,
    Execution,
    ExtendCommand,
    Extended,
    Finished,
    Gone,
    HeldAttempt,
    HeldState,
    LogAck,
    LogChunk,
    LogStream,
    OnConflict,
    Outcome,
    Progress,
    Rate,
    Reason,
    ResultAck,
    RetryPolicy,
    StartCommand,
    Started,
    TaskError,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    TaskStatus,
    Update,
    Verdict,
    VerdictAction,
    WhenTaken,
)
from nodelink.traceparent import traceparent_or_empty
from nodelink.v1 import agent_pb2, task_pb2

TRACEPARENT = "traceparent"
"""The key of the W3C trace context in a TaskRequest."""

MOST_WRITTEN_SPECS = 64
MOST_READ_SPECS = 1_024
LONGEST_KNOWN_SPEC = 1_024
"""Bytes of a spec that is remembered once it has been read or written."""

_DEFAULT_RETRY = RetryPolicy()
_LARGEST_UINT32 = (1 << 32) - 1
_LARGEST_UINT64 = (1 << 64) - 1

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
WHEN_TAKEN_TO_PB = _numbers(WhenTaken, task_pb2.WhenTaken, "WHEN_TAKEN")
WHEN_TAKEN_FROM_PB = _members(WHEN_TAKEN_TO_PB)
ON_CONFLICT_TO_PB = _numbers(OnConflict, task_pb2.OnConflict, "ON_CONFLICT")
ON_CONFLICT_FROM_PB = _members(ON_CONFLICT_TO_PB)
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
    _put_work(pb, spec, payload)
    _put_choice(pb, spec)
    if spec.limits:
        pb.limits.update(spec.limits)
    for key, rate in spec.rates.items():
        pb.rates[key].most = rate.most
        put_ms(pb.rates[key].per, rate.per_ms)
    if spec.when_taken is not WhenTaken.WAIT:
        pb.when_taken = WHEN_TAKEN_TO_PB[spec.when_taken]
    if spec.unique_key:
        pb.unique_key = spec.unique_key
    if spec.on_conflict is not OnConflict.FAIL:
        pb.on_conflict = ON_CONFLICT_TO_PB[spec.on_conflict]
    if spec.approval_timeout_ms is not None:
        put_ms(pb.approval.timeout, spec.approval_timeout_ms)
    if spec.approval_by_other:
        pb.approval.by_other = True


def _put_choice(pb: task_pb2.TaskSpec, spec: TaskSpec) -> None:
    """Write which agent it may go to, and in whose turn."""
    if spec.agent_id:
        pb.agent_id = spec.agent_id
    if spec.selector:
        pb.selector = spec.selector
    if spec.fairness_key:
        pb.fairness_key = spec.fairness_key
    if spec.fairness_weight != 1:
        pb.fairness_weight = spec.fairness_weight


def _put_work(pb: task_pb2.TaskSpec, spec: TaskSpec, payload: bytes) -> None:
    """Write what the agent that does it has to know."""
    pb.type = spec.type
    pb.payload = payload
    pb.pool = spec.pool
    pb.priority = spec.priority
    _put_times(pb, spec)
    if spec.execution is not None:
        pb.execution = EXECUTION_TO_PB[spec.execution]
    if spec.metadata:
        pb.metadata.update(spec.metadata)
    if spec.lock:
        pb.lock = spec.lock
    if spec.retry is not None:
        _put_retry(pb.retry, spec.retry)
    if spec.slots != 1:
        pb.slots = spec.slots
    if spec.resources:
        pb.resources.update(spec.resources)
    if spec.workspace:
        pb.workspace = spec.workspace


def _put_times(pb: task_pb2.TaskSpec, spec: TaskSpec) -> None:
    if spec.timeout_ms is not None:
        put_ms(pb.timeout, spec.timeout_ms)
    if spec.queue_timeout_ms is not None:
        put_ms(pb.queue_timeout, spec.queue_timeout_ms)
    if spec.start_timeout_ms is not None:
        put_ms(pb.start_timeout, spec.start_timeout_ms)
    if spec.total_timeout_ms is not None:
        put_ms(pb.total_timeout, spec.total_timeout_ms)
    if spec.heartbeat_timeout_ms is not None:
        put_ms(pb.heartbeat_timeout, spec.heartbeat_timeout_ms)
    if spec.scheduled_at is not None:
        put_ms(pb.scheduled_at, spec.scheduled_at)
    if spec.delay_ms is not None:
        put_ms(pb.delay, spec.delay_ms)


def _put_retry(pb: task_pb2.RetryPolicy, retry: RetryPolicy) -> None:
    pb.max_attempts = retry.max_attempts
    put_ms(pb.initial, retry.initial_ms)
    put_ms(pb.max, retry.max_ms)
    pb.multiplier = retry.multiplier
    pb.on.extend(retry.on)


def work_bytes(spec: TaskSpec, payload: bytes) -> bytes:
    """What was asked as the bytes that a TaskRequest carries: without what only the server needs."""
    pb = task_pb2.TaskSpec()
    _put_work(pb, spec, payload)
    return pb.SerializeToString()


class WorkWriter:
    """Writes what was asked as `work_bytes` does; what many tasks ask alike, once. Their payloads are put behind it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[TaskSpec, bytes]] = {}

    def bytes_of(self, spec: TaskSpec, payload: bytes) -> bytes:
        """The bytes of a task. Two messages, one behind the other, are read as one that has what both have."""
        _, alike = self._known.get(id(spec)) or self._written(spec)
        # A new message each time: one that is kept would keep the memory of every value that it has ever had.
        return alike + task_pb2.TaskSpec(payload=payload).SerializeToString()

    def _written(self, spec: TaskSpec) -> tuple[TaskSpec, bytes]:
        written = (spec, work_bytes(spec, b""))
        if len(written[1]) <= LONGEST_KNOWN_SPEC:
            if len(self._known) >= MOST_WRITTEN_SPECS:
                self._known.clear()
            self._known[id(spec)] = written  # which keeps the spec, so that no other comes to have its identity
        return written


def without_payload(pb: task_pb2.TaskSpec) -> tuple[bytes, bytes]:
    """The bytes of a message without its payload, which many may have in common, and the payload, which it loses."""
    payload = pb.payload
    pb.ClearField("payload")
    return pb.SerializeToString(), payload


def spec_of(pb: task_pb2.TaskSpec) -> tuple[TaskSpec, bytes]:
    """What is asked, defaults filled in, and its payload. InvalidTask: a choice that this version does not know."""
    _check_known("execution", pb.execution, EXECUTION_FROM_PB)
    _check_known("when_taken", pb.when_taken, WHEN_TAKEN_FROM_PB)
    _check_known("on_conflict", pb.on_conflict, ON_CONFLICT_FROM_PB)
    return _spec_of(pb, EXECUTION_FROM_PB.get(pb.execution)), pb.payload


def _check_known(field: str, number: int, members: Mapping[int, StrEnum]) -> None:
    if number and number not in members:
        known = ", ".join(sorted(member.value for member in members.values()))
        raise InvalidTask(FieldError(field, f"{number} is not known; use one of {known}"))


def _spec_of(pb: task_pb2.TaskSpec, execution: Execution | None) -> TaskSpec:
    return TaskSpec(
        type=pb.type,
        pool=pb.pool or DEFAULT_POOL,
        priority=pb.priority,
        timeout_ms=ms_of(pb.timeout) if pb.HasField("timeout") else None,
        queue_timeout_ms=ms_of(pb.queue_timeout) if pb.HasField("queue_timeout") else None,
        scheduled_at=ms_of(pb.scheduled_at) if pb.HasField("scheduled_at") else None,
        delay_ms=ms_of(pb.delay) if pb.HasField("delay") else None,
        execution=execution,
        metadata=dict(pb.metadata) if pb.metadata else {},  # iterating over a map is slow
        lock=pb.lock,
        retry=_retry_of(pb.retry) if pb.HasField("retry") else None,
        start_timeout_ms=ms_of(pb.start_timeout) if pb.HasField("start_timeout") else None,
        total_timeout_ms=ms_of(pb.total_timeout) if pb.HasField("total_timeout") else None,
        heartbeat_timeout_ms=ms_of(pb.heartbeat_timeout) if pb.HasField("heartbeat_timeout") else None,
        agent_id=pb.agent_id,
        selector=pb.selector,
        slots=pb.slots or 1,
        resources=dict(pb.resources) if pb.resources else {},
        limits=dict(pb.limits) if pb.limits else {},
        rates={key: Rate(rate.most, ms_of(rate.per)) for key, rate in pb.rates.items()} if pb.rates else {},
        when_taken=WHEN_TAKEN_FROM_PB.get(pb.when_taken, WhenTaken.WAIT),
        workspace=pb.workspace,
        unique_key=pb.unique_key,
        on_conflict=ON_CONFLICT_FROM_PB.get(pb.on_conflict, OnConflict.FAIL),
        fairness_key=pb.fairness_key,
        fairness_weight=pb.fairness_weight or 1,
        approval_timeout_ms=ms_of(pb.approval.timeout) if pb.approval.HasField("timeout") else None,
        approval_by_other=pb.approval.by_other,
    )


def put_plan(pb: task_pb2.Plan, plan: Plan) -> None:
    """Write what a change would do."""
    pb.sha256, pb.size, pb.inputs_sha256, pb.target, pb.summary = plan


def plan_of(pb: task_pb2.Plan) -> Plan:
    """Read what a change would do."""
    return Plan(pb.sha256, pb.size, pb.inputs_sha256, pb.target, pb.summary)


def _retry_of(pb: task_pb2.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=pb.max_attempts or _DEFAULT_RETRY.max_attempts,
        initial_ms=ms_of(pb.initial) if pb.HasField("initial") else _DEFAULT_RETRY.initial_ms,
        max_ms=ms_of(pb.max) if pb.HasField("max") else _DEFAULT_RETRY.max_ms,
        multiplier=pb.multiplier or _DEFAULT_RETRY.multiplier,
        on=tuple(pb.on),
    )


def put_ref(pb: agent_pb2.AttemptRef, ref: AttemptRef) -> None:
    """Write the name of an execution."""
    pb.task_id, pb.attempt, pb.fence = ref


def ref_of(pb: agent_pb2.AttemptRef) -> AttemptRef:
    """Read the name of an execution."""
    return AttemptRef(pb.task_id, pb.attempt, pb.fence)


def put_task_request(pb: agent_pb2.TaskRequest, request: TaskRequest, work: bytes | None = None) -> None:
    """Write a task for an agent. `work`: what was asked as bytes, if they are at hand."""
    pb.MergeFromString(_terms(request.execution, request.granted, request.basis, request.lease_ms))
    put_ref(pb.ref, request.ref)
    pb.spec = work_bytes(request.spec, request.payload) if work is None else work
    if request.traceparent:
        pb.trace_context[TRACEPARENT] = request.traceparent
    if request.plan is not None:
        put_plan(pb.plan, request.plan)


@lru_cache(16)
def _terms(execution: Execution, granted: bool, basis: int, lease_ms: int | None) -> bytes:
    """On what terms an agent is given a task, as bytes of its request: the same for all that it is given at a time."""
    pb = agent_pb2.TaskRequest(execution=EXECUTION_TO_PB[execution], granted=granted, basis=basis)
    if lease_ms is not None:
        put_ms(pb.lease, lease_ms)
    return pb.SerializeToString()


def _work_of(message: bytes, execution: Execution | None) -> TaskSpec:
    return _spec_of(task_pb2.TaskSpec.FromString(message), execution)


_known_work = lru_cache(MOST_READ_SPECS)(_work_of)


def task_request_of(pb: agent_pb2.TaskRequest) -> TaskRequest | None:
    """Read a task that an agent is given. None: its spec cannot be read."""
    try:
        spec = task_pb2.TaskSpec.FromString(pb.spec)
    except DecodeError:
        return None
    execution = EXECUTION_FROM_PB.get(pb.execution)
    message, payload = without_payload(spec)
    return TaskRequest(
        ref=ref_of(pb.ref),
        spec=_known_work(message, execution) if len(message) <= LONGEST_KNOWN_SPEC else _work_of(message, execution),
        payload=payload,
        execution=execution or Execution.ONCE,
        granted=pb.granted,
        lease_ms=ms_of(pb.lease) if pb.HasField("lease") else None,
        basis=pb.basis,
        traceparent=traceparent_or_empty(pb.trace_context.get(TRACEPARENT)) if pb.trace_context else "",
        plan=plan_of(pb.plan) if pb.HasField("plan") else None,
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
        case Extended():
            _put_extended(pb.extended, update)
        case Declined():
            pb.declined.SetInParent()
            pb.declined.message = update.message
            pb.declined.just_this = update.just_this
        case Gone():
            pb.gone.SetInParent()
            pb.gone.message = update.message
            pb.gone.agent_died = update.agent_died
        case Accepted():
            pb.accepted.SetInParent()


def _put_extended(pb: agent_pb2.Extended, extended: Extended) -> None:
    pb.number = extended.number
    if extended.timeout_ms is not None:
        put_ms(pb.timeout, extended.timeout_ms)
    if extended.total_timeout_ms is not None:
        put_ms(pb.total_timeout, extended.total_timeout_ms)
    if extended.heartbeat_timeout_ms is not None:
        put_ms(pb.heartbeat_timeout, extended.heartbeat_timeout_ms)


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
    if finished.retry_after_ms is not None:
        put_ms(pb.retry_after, finished.retry_after_ms)
    if finished.plan is not None:
        put_plan(pb.plan, finished.plan)
        pb.plan_artifact = finished.plan_artifact
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
        case "extended":
            update = _extended_of(pb.extended)
        case "declined":
            update = Declined(message=pb.declined.message, just_this=pb.declined.just_this)
        case "gone":
            update = Gone(message=pb.gone.message, agent_died=pb.gone.agent_died)
        case "accepted":
            update = Accepted()
        case _:
            update = None
    return None if update is None else TaskResponse(ref_of(pb.ref), update)


def _extended_of(pb: agent_pb2.Extended) -> Extended:
    return Extended(
        number=pb.number,
        timeout_ms=ms_of(pb.timeout) if pb.HasField("timeout") else None,
        total_timeout_ms=ms_of(pb.total_timeout) if pb.HasField("total_timeout") else None,
        heartbeat_timeout_ms=ms_of(pb.heartbeat_timeout) if pb.HasField("heartbeat_timeout") else None,
    )


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
        retry_after_ms=ms_of(pb.retry_after) if pb.HasField("retry_after") else None,
        plan=plan_of(pb.plan) if pb.HasField("plan") else None,
        plan_artifact=pb.plan_artifact,
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


def put_start(pb: agent_pb2.StartCommand, command: StartCommand) -> None:
    """Write the grant of an offer."""
    put_ref(pb.ref, command.ref)
    pb.basis = command.basis
    if command.lease_ms is not None:
        put_ms(pb.lease, command.lease_ms)


def start_of(pb: agent_pb2.StartCommand) -> StartCommand:
    """Read the grant of an offer."""
    return StartCommand(ref_of(pb.ref), ms_of(pb.lease) if pb.HasField("lease") else None, pb.basis)


def put_cancel(pb: agent_pb2.CancelCommand, command: CancelCommand) -> None:
    """Write the stop of an attempt."""
    put_ref(pb.ref, command.ref)
    put_ms(pb.grace, command.grace_ms)
    pb.reason = command.reason


def cancel_of(pb: agent_pb2.CancelCommand) -> CancelCommand:
    """Read the stop of an attempt. No grace: the default one; a reason that is not known: the caller's wish."""
    grace = ms_of(pb.grace) if pb.HasField("grace") else DEFAULT_GRACE_MS
    return CancelCommand(ref_of(pb.ref), max(grace, 0), REASONS.get(pb.reason) or Reason.CANCELLED_BY_CALLER)


def put_extend(pb: agent_pb2.ExtendCommand, command: ExtendCommand) -> None:
    """Write other limits for an attempt."""
    put_ref(pb.ref, command.ref)
    pb.number, pb.heard = command.number, command.heard
    if command.timeout_ms is not None:
        put_ms(pb.timeout, command.timeout_ms)
    if command.heartbeat_timeout_ms is not None:
        put_ms(pb.heartbeat_timeout, command.heartbeat_timeout_ms)


def extend_of(pb: agent_pb2.ExtendCommand) -> ExtendCommand:
    """Read other limits for an attempt. A time that is negative is over."""
    return ExtendCommand(
        ref=ref_of(pb.ref),
        number=pb.number,
        timeout_ms=max(ms_of(pb.timeout), 0) if pb.HasField("timeout") else None,
        heartbeat_timeout_ms=max(ms_of(pb.heartbeat_timeout), 0) if pb.HasField("heartbeat_timeout") else None,
        heard=pb.heard,
    )


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


# --- what is taken of an agent --------------------------------------------------------------------------------------


def put_taken(pb: agent_pb2.Heartbeat, taken: Taken) -> None:
    """Write what an agent counts as taken of it."""
    pb.slots_used = min(taken.slots, _LARGEST_UINT32)
    for name, amount in taken.resources.items():
        pb.resources_used[name] = min(amount, _LARGEST_UINT64)
    if taken.plans or taken.applies:
        pb.plans_running, pb.applies_running = taken.plans, taken.applies


def taken_of(pb: agent_pb2.Heartbeat) -> Taken | None:
    """Read what an agent counts as taken of it. None: it does not count."""
    if not pb.HasField("slots_used"):
        return None
    resources = dict(pb.resources_used) if pb.resources_used else {}
    return Taken(pb.slots_used, resources, pb.plans_running, pb.applies_running)
