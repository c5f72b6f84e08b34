import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from nodelink.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGENT_STATUS_UNSPECIFIED: _ClassVar[AgentStatus]
    AGENT_STATUS_ONLINE: _ClassVar[AgentStatus]
    AGENT_STATUS_UNREACHABLE: _ClassVar[AgentStatus]
    AGENT_STATUS_DRAINING: _ClassVar[AgentStatus]
    AGENT_STATUS_CORDONED: _ClassVar[AgentStatus]
    AGENT_STATUS_OFFLINE: _ClassVar[AgentStatus]

class WorkspaceMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKSPACE_MODE_UNSPECIFIED: _ClassVar[WorkspaceMode]
    WORKSPACE_MODE_LOCAL: _ClassVar[WorkspaceMode]
    WORKSPACE_MODE_AGENT: _ClassVar[WorkspaceMode]
    WORKSPACE_MODE_KUBERNETES: _ClassVar[WorkspaceMode]
AGENT_STATUS_UNSPECIFIED: AgentStatus
AGENT_STATUS_ONLINE: AgentStatus
AGENT_STATUS_UNREACHABLE: AgentStatus
AGENT_STATUS_DRAINING: AgentStatus
AGENT_STATUS_CORDONED: AgentStatus
AGENT_STATUS_OFFLINE: AgentStatus
WORKSPACE_MODE_UNSPECIFIED: WorkspaceMode
WORKSPACE_MODE_LOCAL: WorkspaceMode
WORKSPACE_MODE_AGENT: WorkspaceMode
WORKSPACE_MODE_KUBERNETES: WorkspaceMode

class Agent(_message.Message):
    __slots__ = ("id", "name", "pool", "status", "labels", "slots", "current_tasks", "last_heartbeat_at", "types", "software_version", "free_slots", "cordon_reason", "resources", "type_limits", "used_slots", "drained_at", "drain_deadline", "drain_note", "plan_limit", "plan_running", "apply_running")
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
        value: AgentResource
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[AgentResource, _Mapping]] = ...) -> None: ...
    class TypeLimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_TASKS_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARTBEAT_AT_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    FREE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    CORDON_REASON_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    TYPE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    USED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    DRAINED_AT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_NOTE_FIELD_NUMBER: _ClassVar[int]
    PLAN_LIMIT_FIELD_NUMBER: _ClassVar[int]
    PLAN_RUNNING_FIELD_NUMBER: _ClassVar[int]
    APPLY_RUNNING_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    pool: str
    status: AgentStatus
    labels: _containers.ScalarMap[str, str]
    slots: int
    current_tasks: _containers.RepeatedScalarFieldContainer[str]
    last_heartbeat_at: _timestamp_pb2.Timestamp
    types: _containers.RepeatedScalarFieldContainer[str]
    software_version: str
    free_slots: int
    cordon_reason: str
    resources: _containers.MessageMap[str, AgentResource]
    type_limits: _containers.ScalarMap[str, int]
    used_slots: int
    drained_at: _timestamp_pb2.Timestamp
    drain_deadline: _timestamp_pb2.Timestamp
    drain_note: str
    plan_limit: int
    plan_running: int
    apply_running: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., pool: _Optional[str] = ..., status: _Optional[_Union[AgentStatus, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., slots: _Optional[int] = ..., current_tasks: _Optional[_Iterable[str]] = ..., last_heartbeat_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., types: _Optional[_Iterable[str]] = ..., software_version: _Optional[str] = ..., free_slots: _Optional[int] = ..., cordon_reason: _Optional[str] = ..., resources: _Optional[_Mapping[str, AgentResource]] = ..., type_limits: _Optional[_Mapping[str, int]] = ..., used_slots: _Optional[int] = ..., drained_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., drain_deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., drain_note: _Optional[str] = ..., plan_limit: _Optional[int] = ..., plan_running: _Optional[int] = ..., apply_running: _Optional[int] = ...) -> None: ...

class AgentResource(_message.Message):
    __slots__ = ("total", "used")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    total: int
    used: int
    def __init__(self, total: _Optional[int] = ..., used: _Optional[int] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ("status", "pool", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    status: AgentStatus
    pool: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, status: _Optional[_Union[AgentStatus, str]] = ..., pool: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ...) -> None: ...

class GetAgentRequest(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

class GetAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: Agent
    def __init__(self, agent: _Optional[_Union[Agent, _Mapping]] = ...) -> None: ...

class ExplainAgentRequest(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

class ExplainAgentResponse(_message.Message):
    __slots__ = ("agent_id", "summary", "conditions", "waiting")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    summary: str
    conditions: _containers.RepeatedCompositeFieldContainer[_task_pb2.Condition]
    waiting: int
    def __init__(self, agent_id: _Optional[str] = ..., summary: _Optional[str] = ..., conditions: _Optional[_Iterable[_Union[_task_pb2.Condition, _Mapping]]] = ..., waiting: _Optional[int] = ...) -> None: ...

class DrainAgentRequest(_message.Message):
    __slots__ = ("agent_id", "note", "deadline")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    note: str
    deadline: _duration_pb2.Duration
    def __init__(self, agent_id: _Optional[str] = ..., note: _Optional[str] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DrainAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: Agent
    def __init__(self, agent: _Optional[_Union[Agent, _Mapping]] = ...) -> None: ...

class UndrainAgentRequest(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

class UndrainAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: Agent
    def __init__(self, agent: _Optional[_Union[Agent, _Mapping]] = ...) -> None: ...

class ListAgentSessionsRequest(_message.Message):
    __slots__ = ("agent_id", "page_size", "page_token")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    page_size: int
    page_token: str
    def __init__(self, agent_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAgentSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[AgentSession]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[AgentSession, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class AgentSession(_message.Message):
    __slots__ = ("number", "connected_at", "disconnected_at", "reason", "software_version")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    DISCONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    number: int
    connected_at: _timestamp_pb2.Timestamp
    disconnected_at: _timestamp_pb2.Timestamp
    reason: str
    software_version: str
    def __init__(self, number: _Optional[int] = ..., connected_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., disconnected_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., software_version: _Optional[str] = ...) -> None: ...

class GetSchedulerStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSchedulerStatusResponse(_message.Message):
    __slots__ = ("state", "queued_tasks", "running_tasks", "max_concurrent_tasks", "available_slots", "queue_by_priority", "last_checkpoint_at", "pauses")
    class QueueByPriorityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_TASKS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_TASKS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_TASKS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_BY_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    LAST_CHECKPOINT_AT_FIELD_NUMBER: _ClassVar[int]
    PAUSES_FIELD_NUMBER: _ClassVar[int]
    state: str
    queued_tasks: int
    running_tasks: int
    max_concurrent_tasks: int
    available_slots: int
    queue_by_priority: _containers.ScalarMap[str, int]
    last_checkpoint_at: _timestamp_pb2.Timestamp
    pauses: _containers.RepeatedCompositeFieldContainer[Pause]
    def __init__(self, state: _Optional[str] = ..., queued_tasks: _Optional[int] = ..., running_tasks: _Optional[int] = ..., max_concurrent_tasks: _Optional[int] = ..., available_slots: _Optional[int] = ..., queue_by_priority: _Optional[_Mapping[str, int]] = ..., last_checkpoint_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pauses: _Optional[_Iterable[_Union[Pause, _Mapping]]] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ("scope", "since", "by", "reason")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    scope: str
    since: _timestamp_pb2.Timestamp
    by: str
    reason: str
    def __init__(self, scope: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseSchedulerRequest(_message.Message):
    __slots__ = ("pool", "type", "reason")
    POOL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    pool: str
    type: str
    reason: str
    def __init__(self, pool: _Optional[str] = ..., type: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseSchedulerResponse(_message.Message):
    __slots__ = ("pause", "checkpoint", "content")
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    pause: Pause
    checkpoint: Checkpoint
    content: bytes
    def __init__(self, pause: _Optional[_Union[Pause, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., content: _Optional[bytes] = ...) -> None: ...

class ResumeSchedulerRequest(_message.Message):
    __slots__ = ("pool", "type", "reason", "checkpoint_id", "checkpoint", "as_waiting")
    POOL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    AS_WAITING_FIELD_NUMBER: _ClassVar[int]
    pool: str
    type: str
    reason: str
    checkpoint_id: str
    checkpoint: bytes
    as_waiting: bool
    def __init__(self, pool: _Optional[str] = ..., type: _Optional[str] = ..., reason: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., checkpoint: _Optional[bytes] = ..., as_waiting: _Optional[bool] = ...) -> None: ...

class ResumeSchedulerResponse(_message.Message):
    __slots__ = ("was_paused", "loaded", "checkpoint")
    WAS_PAUSED_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    was_paused: bool
    loaded: bool
    checkpoint: Checkpoint
    def __init__(self, was_paused: _Optional[bool] = ..., loaded: _Optional[bool] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("id", "taken_at", "why", "complete", "waiting", "running", "bytes", "sha256", "version", "cluster_id", "ended_left_out", "blobs", "blob_bytes", "blobs_left_out", "left_out")
    ID_FIELD_NUMBER: _ClassVar[int]
    TAKEN_AT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    ENDED_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BLOB_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOBS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    taken_at: _timestamp_pb2.Timestamp
    why: str
    complete: bool
    waiting: int
    running: int
    bytes: int
    sha256: str
    version: int
    cluster_id: str
    ended_left_out: int
    blobs: int
    blob_bytes: int
    blobs_left_out: int
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOutBlob]
    def __init__(self, id: _Optional[str] = ..., taken_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., why: _Optional[str] = ..., complete: _Optional[bool] = ..., waiting: _Optional[int] = ..., running: _Optional[int] = ..., bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., version: _Optional[int] = ..., cluster_id: _Optional[str] = ..., ended_left_out: _Optional[int] = ..., blobs: _Optional[int] = ..., blob_bytes: _Optional[int] = ..., blobs_left_out: _Optional[int] = ..., left_out: _Optional[_Iterable[_Union[LeftOutBlob, _Mapping]]] = ...) -> None: ...

class LeftOutBlob(_message.Message):
    __slots__ = ("sha256", "size", "why", "task_id", "name", "workspace")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size: int
    why: str
    task_id: str
    name: str
    workspace: str
    def __init__(self, sha256: _Optional[str] = ..., size: _Optional[int] = ..., why: _Optional[str] = ..., task_id: _Optional[str] = ..., name: _Optional[str] = ..., workspace: _Optional[str] = ...) -> None: ...

class TakeCheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TakeCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint",)
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    checkpoint: Checkpoint
    def __init__(self, checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class ListCheckpointsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCheckpointsResponse(_message.Message):
    __slots__ = ("checkpoints",)
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    checkpoints: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    def __init__(self, checkpoints: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ...) -> None: ...

class VerifyCheckpointRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class VerifyCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint",)
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    checkpoint: Checkpoint
    def __init__(self, checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class ReadCheckpointRequest(_message.Message):
    __slots__ = ("id", "offset")
    ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    id: str
    offset: int
    def __init__(self, id: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class ReadCheckpointResponse(_message.Message):
    __slots__ = ("data", "size")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    size: int
    def __init__(self, data: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ("by", "to", "step")
    BY_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    by: str
    to: _timestamp_pb2.Timestamp
    step: _duration_pb2.Duration
    def __init__(self, by: _Optional[str] = ..., to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., **kwargs) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("to", "step", "buckets", "now")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    to: _timestamp_pb2.Timestamp
    step: _duration_pb2.Duration
    buckets: _containers.RepeatedCompositeFieldContainer[StatsBucket]
    now: StatsLevels
    def __init__(self, to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., buckets: _Optional[_Iterable[_Union[StatsBucket, _Mapping]]] = ..., now: _Optional[_Union[StatsLevels, _Mapping]] = ..., **kwargs) -> None: ...

class StatsBucket(_message.Message):
    __slots__ = ("start", "groups")
    START_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    groups: _containers.RepeatedCompositeFieldContainer[StatsGroup]
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., groups: _Optional[_Iterable[_Union[StatsGroup, _Mapping]]] = ...) -> None: ...

class StatsGroup(_message.Message):
    __slots__ = ("key", "created", "finished", "queue_seconds", "run_seconds", "total_seconds", "assigned", "returned")
    class FinishedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    key: str
    created: int
    finished: _containers.ScalarMap[str, int]
    queue_seconds: StatsDurations
    run_seconds: StatsDurations
    total_seconds: StatsDurations
    assigned: int
    returned: int
    def __init__(self, key: _Optional[str] = ..., created: _Optional[int] = ..., finished: _Optional[_Mapping[str, int]] = ..., queue_seconds: _Optional[_Union[StatsDurations, _Mapping]] = ..., run_seconds: _Optional[_Union[StatsDurations, _Mapping]] = ..., total_seconds: _Optional[_Union[StatsDurations, _Mapping]] = ..., assigned: _Optional[int] = ..., returned: _Optional[int] = ...) -> None: ...

class StatsDurations(_message.Message):
    __slots__ = ("count", "mean", "p50", "p99")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    count: int
    mean: float
    p50: float
    p99: float
    def __init__(self, count: _Optional[int] = ..., mean: _Optional[float] = ..., p50: _Optional[float] = ..., p99: _Optional[float] = ...) -> None: ...

class StatsLevels(_message.Message):
    __slots__ = ("live", "response_channel_depth", "response_channel_capacity", "response_channel_full", "cleanup_runs", "cleanup_removed")
    class LiveEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    LIVE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CHANNEL_DEPTH_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CHANNEL_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CHANNEL_FULL_FIELD_NUMBER: _ClassVar[int]
    CLEANUP_RUNS_FIELD_NUMBER: _ClassVar[int]
    CLEANUP_REMOVED_FIELD_NUMBER: _ClassVar[int]
    live: _containers.ScalarMap[str, int]
    response_channel_depth: int
    response_channel_capacity: int
    response_channel_full: int
    cleanup_runs: int
    cleanup_removed: int
    def __init__(self, live: _Optional[_Mapping[str, int]] = ..., response_channel_depth: _Optional[int] = ..., response_channel_capacity: _Optional[int] = ..., response_channel_full: _Optional[int] = ..., cleanup_runs: _Optional[int] = ..., cleanup_removed: _Optional[int] = ...) -> None: ...

class Workspace(_message.Message):
    __slots__ = ("name", "pool", "mode", "created_at", "execution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    pool: str
    mode: WorkspaceMode
    created_at: _timestamp_pb2.Timestamp
    execution: _task_pb2.Execution
    def __init__(self, name: _Optional[str] = ..., pool: _Optional[str] = ..., mode: _Optional[_Union[WorkspaceMode, str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., execution: _Optional[_Union[_task_pb2.Execution, str]] = ...) -> None: ...

class CreateWorkspaceRequest(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class CreateWorkspaceResponse(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class GetWorkspaceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetWorkspaceResponse(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class ListWorkspacesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkspacesResponse(_message.Message):
    __slots__ = ("workspaces",)
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    workspaces: _containers.RepeatedCompositeFieldContainer[Workspace]
    def __init__(self, workspaces: _Optional[_Iterable[_Union[Workspace, _Mapping]]] = ...) -> None: ...

class UpdateWorkspaceRequest(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class UpdateWorkspaceResponse(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class DeleteWorkspaceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteWorkspaceResponse(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("name", "most", "settings_most", "taken", "holders", "waiting", "waiting_more")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_MOST_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WAITING_MORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    most: int
    settings_most: int
    taken: int
    holders: _containers.RepeatedCompositeFieldContainer[LimitHolder]
    waiting: _containers.RepeatedCompositeFieldContainer[LimitWaiter]
    waiting_more: int
    def __init__(self, name: _Optional[str] = ..., most: _Optional[int] = ..., settings_most: _Optional[int] = ..., taken: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[LimitHolder, _Mapping]]] = ..., waiting: _Optional[_Iterable[_Union[LimitWaiter, _Mapping]]] = ..., waiting_more: _Optional[int] = ...) -> None: ...

class LimitWaiter(_message.Message):
    __slots__ = ("task_id", "priority", "since")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    priority: int
    since: _timestamp_pb2.Timestamp
    def __init__(self, task_id: _Optional[str] = ..., priority: _Optional[int] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LimitHolder(_message.Message):
    __slots__ = ("task_id", "agent_id", "since")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    agent_id: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, task_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListLimitsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListLimitsResponse(_message.Message):
    __slots__ = ("limits", "total")
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    limits: _containers.RepeatedCompositeFieldContainer[Limit]
    total: int
    def __init__(self, limits: _Optional[_Iterable[_Union[Limit, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class SetLimitRequest(_message.Message):
    __slots__ = ("name", "most")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    name: str
    most: int
    def __init__(self, name: _Optional[str] = ..., most: _Optional[int] = ...) -> None: ...

class SetLimitResponse(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: Limit
    def __init__(self, limit: _Optional[_Union[Limit, _Mapping]] = ...) -> None: ...

class RemoveLimitRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveLimitResponse(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: Limit
    def __init__(self, limit: _Optional[_Union[Limit, _Mapping]] = ...) -> None: ...
