import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
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
AGENT_STATUS_UNSPECIFIED: AgentStatus
AGENT_STATUS_ONLINE: AgentStatus
AGENT_STATUS_UNREACHABLE: AgentStatus
AGENT_STATUS_DRAINING: AgentStatus
AGENT_STATUS_CORDONED: AgentStatus
AGENT_STATUS_OFFLINE: AgentStatus

class Agent(_message.Message):
    __slots__ = ("id", "name", "pool", "status", "labels", "slots", "current_tasks", "last_heartbeat_at", "types", "software_version", "free_slots")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
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
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., pool: _Optional[str] = ..., status: _Optional[_Union[AgentStatus, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., slots: _Optional[int] = ..., current_tasks: _Optional[_Iterable[str]] = ..., last_heartbeat_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., types: _Optional[_Iterable[str]] = ..., software_version: _Optional[str] = ..., free_slots: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("state", "queued_tasks", "running_tasks", "max_concurrent_tasks", "available_slots", "queue_by_priority", "last_checkpoint_at")
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
    state: str
    queued_tasks: int
    running_tasks: int
    max_concurrent_tasks: int
    available_slots: int
    queue_by_priority: _containers.ScalarMap[str, int]
    last_checkpoint_at: _timestamp_pb2.Timestamp
    def __init__(self, state: _Optional[str] = ..., queued_tasks: _Optional[int] = ..., running_tasks: _Optional[int] = ..., max_concurrent_tasks: _Optional[int] = ..., available_slots: _Optional[int] = ..., queue_by_priority: _Optional[_Mapping[str, int]] = ..., last_checkpoint_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

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
