import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from nodelink.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HeldState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HELD_STATE_UNSPECIFIED: _ClassVar[HeldState]
    HELD_STATE_WAITING: _ClassVar[HeldState]
    HELD_STATE_RUNNING: _ClassVar[HeldState]
    HELD_STATE_ENDED: _ClassVar[HeldState]
    HELD_STATE_LOGS_ONLY: _ClassVar[HeldState]
    HELD_STATE_ACCEPTED: _ClassVar[HeldState]

class VerdictAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_ACTION_UNSPECIFIED: _ClassVar[VerdictAction]
    VERDICT_ACTION_KEEP: _ClassVar[VerdictAction]
    VERDICT_ACTION_STOP: _ClassVar[VerdictAction]
    VERDICT_ACTION_FORGET: _ClassVar[VerdictAction]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_COMPLETED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_TIMEOUT: _ClassVar[Outcome]
    OUTCOME_CANCELLED: _ClassVar[Outcome]

class AckDisposition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACK_DISPOSITION_UNSPECIFIED: _ClassVar[AckDisposition]
    ACK_DISPOSITION_COMMITTED: _ClassVar[AckDisposition]
    ACK_DISPOSITION_DUPLICATE: _ClassVar[AckDisposition]
    ACK_DISPOSITION_STALE: _ClassVar[AckDisposition]
    ACK_DISPOSITION_REFUSED: _ClassVar[AckDisposition]
HELD_STATE_UNSPECIFIED: HeldState
HELD_STATE_WAITING: HeldState
HELD_STATE_RUNNING: HeldState
HELD_STATE_ENDED: HeldState
HELD_STATE_LOGS_ONLY: HeldState
HELD_STATE_ACCEPTED: HeldState
VERDICT_ACTION_UNSPECIFIED: VerdictAction
VERDICT_ACTION_KEEP: VerdictAction
VERDICT_ACTION_STOP: VerdictAction
VERDICT_ACTION_FORGET: VerdictAction
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_COMPLETED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_TIMEOUT: Outcome
OUTCOME_CANCELLED: Outcome
ACK_DISPOSITION_UNSPECIFIED: AckDisposition
ACK_DISPOSITION_COMMITTED: AckDisposition
ACK_DISPOSITION_DUPLICATE: AckDisposition
ACK_DISPOSITION_STALE: AckDisposition
ACK_DISPOSITION_REFUSED: AckDisposition

class AttemptRef(_message.Message):
    __slots__ = ("task_id", "attempt", "fence")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    fence: int
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "responses", "logs", "heartbeat", "task_credit", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    TASK_CREDIT_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    responses: _containers.RepeatedCompositeFieldContainer[TaskResponse]
    logs: _containers.RepeatedCompositeFieldContainer[LogChunk]
    heartbeat: Heartbeat
    task_credit: int
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., responses: _Optional[_Iterable[_Union[TaskResponse, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[LogChunk, _Mapping]]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., task_credit: _Optional[int] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "tasks", "starts", "cancels", "result_acks", "log_acks", "heartbeat_ack", "response_credit", "log_credit", "drain", "goodbye", "extends")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    RESULT_ACKS_FIELD_NUMBER: _ClassVar[int]
    LOG_ACKS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_ACK_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CREDIT_FIELD_NUMBER: _ClassVar[int]
    LOG_CREDIT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    EXTENDS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    tasks: _containers.RepeatedCompositeFieldContainer[TaskRequest]
    starts: _containers.RepeatedCompositeFieldContainer[StartCommand]
    cancels: _containers.RepeatedCompositeFieldContainer[CancelCommand]
    result_acks: _containers.RepeatedCompositeFieldContainer[ResultAck]
    log_acks: _containers.RepeatedCompositeFieldContainer[LogAck]
    heartbeat_ack: HeartbeatAck
    response_credit: int
    log_credit: int
    drain: Drain
    goodbye: Goodbye
    extends: _containers.RepeatedCompositeFieldContainer[ExtendCommand]
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[TaskRequest, _Mapping]]] = ..., starts: _Optional[_Iterable[_Union[StartCommand, _Mapping]]] = ..., cancels: _Optional[_Iterable[_Union[CancelCommand, _Mapping]]] = ..., result_acks: _Optional[_Iterable[_Union[ResultAck, _Mapping]]] = ..., log_acks: _Optional[_Iterable[_Union[LogAck, _Mapping]]] = ..., heartbeat_ack: _Optional[_Union[HeartbeatAck, _Mapping]] = ..., response_credit: _Optional[int] = ..., log_credit: _Optional[int] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., extends: _Optional[_Iterable[_Union[ExtendCommand, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_min", "protocol_max", "agent_id", "secret", "session", "remembers_since", "host_id", "name", "pool", "slots", "handlers", "labels", "features", "software_version", "held", "instance_id", "process_since", "resources", "type_limits", "plan_limit")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class TypeLimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REMEMBERS_SINCE_FIELD_NUMBER: _ClassVar[int]
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_SINCE_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    TYPE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    PLAN_LIMIT_FIELD_NUMBER: _ClassVar[int]
    protocol_min: int
    protocol_max: int
    agent_id: str
    secret: bytes
    session: int
    remembers_since: int
    host_id: str
    name: str
    pool: str
    slots: int
    handlers: _containers.RepeatedCompositeFieldContainer[Handler]
    labels: _containers.ScalarMap[str, str]
    features: _containers.RepeatedScalarFieldContainer[str]
    software_version: str
    held: _containers.RepeatedCompositeFieldContainer[HeldAttempt]
    instance_id: str
    process_since: int
    resources: _containers.ScalarMap[str, int]
    type_limits: _containers.ScalarMap[str, int]
    plan_limit: int
    def __init__(self, protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., agent_id: _Optional[str] = ..., secret: _Optional[bytes] = ..., session: _Optional[int] = ..., remembers_since: _Optional[int] = ..., host_id: _Optional[str] = ..., name: _Optional[str] = ..., pool: _Optional[str] = ..., slots: _Optional[int] = ..., handlers: _Optional[_Iterable[_Union[Handler, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., features: _Optional[_Iterable[str]] = ..., software_version: _Optional[str] = ..., held: _Optional[_Iterable[_Union[HeldAttempt, _Mapping]]] = ..., instance_id: _Optional[str] = ..., process_since: _Optional[int] = ..., resources: _Optional[_Mapping[str, int]] = ..., type_limits: _Optional[_Mapping[str, int]] = ..., plan_limit: _Optional[int] = ...) -> None: ...

class Handler(_message.Message):
    __slots__ = ("type", "execution")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    type: str
    execution: _task_pb2.Execution
    def __init__(self, type: _Optional[str] = ..., execution: _Optional[_Union[_task_pb2.Execution, str]] = ...) -> None: ...

class HeldAttempt(_message.Message):
    __slots__ = ("ref", "state")
    REF_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    state: HeldState
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., state: _Optional[_Union[HeldState, str]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "features", "server_id", "software_version", "heartbeat_interval", "max_frame_bytes", "max_log_chunk_bytes", "verdicts", "response_credit", "log_credit", "session")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LOG_CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CREDIT_FIELD_NUMBER: _ClassVar[int]
    LOG_CREDIT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    features: _containers.RepeatedScalarFieldContainer[str]
    server_id: str
    software_version: str
    heartbeat_interval: _duration_pb2.Duration
    max_frame_bytes: int
    max_log_chunk_bytes: int
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    response_credit: int
    log_credit: int
    session: int
    def __init__(self, protocol: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., server_id: _Optional[str] = ..., software_version: _Optional[str] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_frame_bytes: _Optional[int] = ..., max_log_chunk_bytes: _Optional[int] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., response_credit: _Optional[int] = ..., log_credit: _Optional[int] = ..., session: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("ref", "action", "logs")
    REF_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    action: VerdictAction
    logs: _containers.RepeatedCompositeFieldContainer[LogAck]
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., action: _Optional[_Union[VerdictAction, str]] = ..., logs: _Optional[_Iterable[_Union[LogAck, _Mapping]]] = ...) -> None: ...

class TaskRequest(_message.Message):
    __slots__ = ("ref", "spec", "execution", "granted", "lease", "trace_context", "basis", "plan")
    class TraceContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REF_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    spec: bytes
    execution: _task_pb2.Execution
    granted: bool
    lease: _duration_pb2.Duration
    trace_context: _containers.ScalarMap[str, str]
    basis: int
    plan: _task_pb2.Plan
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., spec: _Optional[bytes] = ..., execution: _Optional[_Union[_task_pb2.Execution, str]] = ..., granted: _Optional[bool] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., trace_context: _Optional[_Mapping[str, str]] = ..., basis: _Optional[int] = ..., plan: _Optional[_Union[_task_pb2.Plan, _Mapping]] = ...) -> None: ...

class StartCommand(_message.Message):
    __slots__ = ("ref", "lease", "basis")
    REF_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    lease: _duration_pb2.Duration
    basis: int
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., basis: _Optional[int] = ...) -> None: ...

class CancelCommand(_message.Message):
    __slots__ = ("ref", "grace", "reason")
    REF_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    grace: _duration_pb2.Duration
    reason: str
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class ExtendCommand(_message.Message):
    __slots__ = ("ref", "number", "timeout", "heartbeat_timeout", "heard")
    REF_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    number: int
    timeout: _duration_pb2.Duration
    heartbeat_timeout: _duration_pb2.Duration
    heard: int
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., number: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heard: _Optional[int] = ...) -> None: ...

class TaskResponse(_message.Message):
    __slots__ = ("ref", "accepted", "started", "progress", "finished", "declined", "gone", "extended")
    REF_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    DECLINED_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    accepted: Accepted
    started: Started
    progress: _task_pb2.Progress
    finished: Finished
    declined: Declined
    gone: Gone
    extended: Extended
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., accepted: _Optional[_Union[Accepted, _Mapping]] = ..., started: _Optional[_Union[Started, _Mapping]] = ..., progress: _Optional[_Union[_task_pb2.Progress, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., declined: _Optional[_Union[Declined, _Mapping]] = ..., gone: _Optional[_Union[Gone, _Mapping]] = ..., extended: _Optional[_Union[Extended, _Mapping]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Started(_message.Message):
    __slots__ = ("ago", "containment")
    AGO_FIELD_NUMBER: _ClassVar[int]
    CONTAINMENT_FIELD_NUMBER: _ClassVar[int]
    ago: _duration_pb2.Duration
    containment: str
    def __init__(self, ago: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., containment: _Optional[str] = ...) -> None: ...

class Extended(_message.Message):
    __slots__ = ("number", "timeout", "total_timeout", "heartbeat_timeout")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    number: int
    timeout: _duration_pb2.Duration
    total_timeout: _duration_pb2.Duration
    heartbeat_timeout: _duration_pb2.Duration
    def __init__(self, number: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Declined(_message.Message):
    __slots__ = ("message", "just_this")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    JUST_THIS_FIELD_NUMBER: _ClassVar[int]
    message: str
    just_this: bool
    def __init__(self, message: _Optional[str] = ..., just_this: _Optional[bool] = ...) -> None: ...

class Gone(_message.Message):
    __slots__ = ("message", "agent_died")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    AGENT_DIED_FIELD_NUMBER: _ClassVar[int]
    message: str
    agent_died: bool
    def __init__(self, message: _Optional[str] = ..., agent_died: _Optional[bool] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("outcome", "exit_code", "signal", "output", "error", "reason", "run_seconds", "cpu_seconds", "max_rss_bytes", "log_totals", "tree_gone", "retry_after", "plan", "plan_artifact")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_TOTALS_FIELD_NUMBER: _ClassVar[int]
    TREE_GONE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PLAN_ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    exit_code: int
    signal: int
    output: bytes
    error: _task_pb2.TaskError
    reason: str
    run_seconds: float
    cpu_seconds: float
    max_rss_bytes: int
    log_totals: _containers.RepeatedCompositeFieldContainer[LogTotal]
    tree_gone: bool
    retry_after: _duration_pb2.Duration
    plan: _task_pb2.Plan
    plan_artifact: str
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., output: _Optional[bytes] = ..., error: _Optional[_Union[_task_pb2.TaskError, _Mapping]] = ..., reason: _Optional[str] = ..., run_seconds: _Optional[float] = ..., cpu_seconds: _Optional[float] = ..., max_rss_bytes: _Optional[int] = ..., log_totals: _Optional[_Iterable[_Union[LogTotal, _Mapping]]] = ..., tree_gone: _Optional[bool] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., plan: _Optional[_Union[_task_pb2.Plan, _Mapping]] = ..., plan_artifact: _Optional[str] = ...) -> None: ...

class LogTotal(_message.Message):
    __slots__ = ("stream", "bytes")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    stream: _task_pb2.LogStream
    bytes: int
    def __init__(self, stream: _Optional[_Union[_task_pb2.LogStream, str]] = ..., bytes: _Optional[int] = ...) -> None: ...

class LogChunk(_message.Message):
    __slots__ = ("ref", "stream", "offset", "data", "gap")
    REF_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    stream: _task_pb2.LogStream
    offset: int
    data: bytes
    gap: int
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., stream: _Optional[_Union[_task_pb2.LogStream, str]] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., gap: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("number", "running", "load", "draining", "slots_used", "resources_used", "interval", "plans_running", "applies_running")
    class ResourcesUsedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_USED_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_USED_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    PLANS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    APPLIES_RUNNING_FIELD_NUMBER: _ClassVar[int]
    number: int
    running: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    load: float
    draining: bool
    slots_used: int
    resources_used: _containers.ScalarMap[str, int]
    interval: _duration_pb2.Duration
    plans_running: int
    applies_running: int
    def __init__(self, number: _Optional[int] = ..., running: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ..., load: _Optional[float] = ..., draining: _Optional[bool] = ..., slots_used: _Optional[int] = ..., resources_used: _Optional[_Mapping[str, int]] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., plans_running: _Optional[int] = ..., applies_running: _Optional[int] = ...) -> None: ...

class HeartbeatAck(_message.Message):
    __slots__ = ("number", "unknown", "heartbeat_interval")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    number: int
    unknown: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, number: _Optional[int] = ..., unknown: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResultAck(_message.Message):
    __slots__ = ("ref", "disposition")
    REF_FIELD_NUMBER: _ClassVar[int]
    DISPOSITION_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    disposition: AckDisposition
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., disposition: _Optional[_Union[AckDisposition, str]] = ...) -> None: ...

class LogAck(_message.Message):
    __slots__ = ("ref", "stream", "offset")
    REF_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ref: AttemptRef
    stream: _task_pb2.LogStream
    offset: int
    def __init__(self, ref: _Optional[_Union[AttemptRef, _Mapping]] = ..., stream: _Optional[_Union[_task_pb2.LogStream, str]] = ..., offset: _Optional[int] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reason", "reconnect_after", "deadline")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    reconnect_after: _duration_pb2.Duration
    deadline: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., reconnect_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason", "idle")
    REASON_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    idle: bool
    def __init__(self, reason: _Optional[str] = ..., idle: _Optional[bool] = ...) -> None: ...

class AttemptProof(_message.Message):
    __slots__ = ("agent_id", "secret", "ref")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    secret: bytes
    ref: AttemptRef
    def __init__(self, agent_id: _Optional[str] = ..., secret: _Optional[bytes] = ..., ref: _Optional[_Union[AttemptRef, _Mapping]] = ...) -> None: ...

class BlobAnnouncement(_message.Message):
    __slots__ = ("proof", "sha256", "size", "artifact_name")
    PROOF_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_NAME_FIELD_NUMBER: _ClassVar[int]
    proof: AttemptProof
    sha256: str
    size: int
    artifact_name: str
    def __init__(self, proof: _Optional[_Union[AttemptProof, _Mapping]] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ..., artifact_name: _Optional[str] = ...) -> None: ...

class PutBlobRequest(_message.Message):
    __slots__ = ("announcement", "data")
    ANNOUNCEMENT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    announcement: BlobAnnouncement
    data: bytes
    def __init__(self, announcement: _Optional[_Union[BlobAnnouncement, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutBlobResponse(_message.Message):
    __slots__ = ("offset", "complete")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    offset: int
    complete: bool
    def __init__(self, offset: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class GetBlobRequest(_message.Message):
    __slots__ = ("proof", "sha256", "offset")
    PROOF_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    proof: AttemptProof
    sha256: str
    offset: int
    def __init__(self, proof: _Optional[_Union[AttemptProof, _Mapping]] = ..., sha256: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class GetBlobResponse(_message.Message):
    __slots__ = ("size", "data")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    size: int
    data: bytes
    def __init__(self, size: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...
