"""The server's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodelink.address import Address, parse_address
from nodelink.otlp import parse_otlp_endpoint
from nodelink.settings import SettingError, one_of, read_settings, seconds, setting, whole_number, yes_or_no
from nodelink_server.assignment_settings import parse_assignment
from nodelink_server.core.assignment import AssignmentDelays
from nodelink_server.core.pace import LEAST_BEATS_PER_LEASE
from nodelink_server.priority_rules import parse_priority_rules

INSECURE_FLAG = "--insecure-i-accept-remote-code-execution"
DAY = 24 * 3600.0
LEAST_LEASE = 10.0
"""Seconds. Of a shorter one, the half that an agent keeps for itself would hardly do to kill what does not obey."""

UNBUILT = (
    "NODELINK_SCHEDULE_MAX_RUNNING",
    "NODELINK_CLEANUP_AGE",
)
"""Published settings that this version does not know yet. They are refused by name, never ignored."""


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A NodeLink server: accepts tasks, and has agents run them."""

    data_dir: Path = setting(  # noqa: RUF009 - a path is immutable
        "where the database and the addresses file are kept",
        env="NODELINK_DATA_DIR",
        flag="--data-dir",
        parse=Path,
        default=Path(".nodelink"),
    )
    database_url: str = setting(
        "the database; nodelink.db in the data directory if not given",
        env="NODELINK_DATABASE_URL",
        flag="--database-url",
        default="",
    )
    grpc_address: Address = setting(  # noqa: RUF009 - so is an address
        "where agents and clients connect; port 0: any free one",
        env="NODELINK_GRPC_ADDRESS",
        flag="--grpc-address",
        parse=parse_address,
        default=Address("127.0.0.1", 50051),
    )
    http_address: Address = setting(  # noqa: RUF009
        "where REST, events and metrics are served; port 0: any free one",
        env="NODELINK_HTTP_ADDRESS",
        flag="--http-address",
        parse=parse_address,
        default=Address("127.0.0.1", 8080),
    )
    allowed_hosts: tuple[str, ...] = setting(
        "further names under which HTTP may be asked, separated by commas",
        env="NODELINK_ALLOWED_HOSTS",
        flag="--allowed-hosts",
        parse=_hosts,
        default=(),
    )
    log_format: str = setting(
        "console or json",
        env="NODELINK_LOG_FORMAT",
        flag="--log-format",
        parse=one_of("console", "json"),
        default="console",
    )
    response_channel_size: int = setting(
        "how many frames of responses may wait to be settled",
        env="NODELINK_RESPONSE_CHANNEL_SIZE",
        flag="--response-channel-size",
        parse=whole_number(1, 100_000),
        default=100,
    )
    cleanup_delay: float = setting(
        "how long finished tasks stay in memory",
        env="NODELINK_CLEANUP_DELAY",
        flag="--cleanup-delay",
        parse=seconds(0, 3600),
        default=5.0,
    )
    cleanup_interval: float = setting(
        "how often old tasks are removed from the database",
        env="NODELINK_CLEANUP_INTERVAL",
        flag="--cleanup-interval",
        parse=seconds(1, DAY),
        default=300.0,
    )
    retention: float = setting(
        "how long finished tasks stay in the database",
        env="NODELINK_RETENTION",
        flag="--retention",
        parse=seconds(60, 3660 * DAY),
        default=30 * DAY,
    )
    blob_quota: int = setting(
        "how many MiB of blobs a workspace may have",
        env="NODELINK_BLOB_QUOTA",
        flag="--blob-quota",
        parse=whole_number(1, 1 << 30),
        default=10_240,
    )
    blob_reserve: int = setting(
        "how many MiB of the disk blobs leave free, for tasks and their output",
        env="NODELINK_BLOB_RESERVE",
        flag="--blob-reserve",
        parse=whole_number(0, 1 << 30),
        default=1_024,
    )
    blob_retention: float = setting(
        "how long blobs stay that are neither an artifact nor a state, since they were last used",
        env="NODELINK_BLOB_RETENTION",
        flag="--blob-retention",
        parse=seconds(60, 3660 * DAY),
        default=7 * DAY,
    )
    heartbeat: float = setting(
        "how often agents report; silent for three times as long, they are unreachable",
        env="NODELINK_HEARTBEAT",
        flag="--heartbeat",
        parse=seconds(0.1, 300),
        default=5.0,
    )
    lease: float = setting(
        "how long a replayable task may go unheard of before it runs again; its agent stops it a little earlier",
        env="NODELINK_LEASE",
        flag="--lease",
        parse=seconds(LEAST_LEASE, 7 * DAY),
        default=600.0,
    )
    start_lease: float = setting(
        "how long an agent may take from a grant to the start of any other task",
        env="NODELINK_START_LEASE",
        flag="--start-lease",
        parse=seconds(1, 3600),
        default=30.0,
    )
    lost_after: float = setting(
        "how long a task of class once may go unheard of before it is lost",
        env="NODELINK_LOST_AFTER",
        flag="--lost-after",
        parse=seconds(1, 30 * DAY),
        default=3600.0,
    )
    unknown_after: float = setting(
        "how long an exclusive task may go unheard of before what became of it is unknown",
        env="NODELINK_UNKNOWN_AFTER",
        flag="--unknown-after",
        parse=seconds(1, 30 * DAY),
        default=600.0,
    )
    outage_grace: float = setting(
        "for how long after a start or an outage no task is given up, so that agents can come back",
        env="NODELINK_OUTAGE_GRACE",
        flag="--outage-grace",
        parse=seconds(0, DAY),
        default=60.0,
    )
    silence_brake: float = setting(
        "for how long no task of a pool is given up when half of its agents have fallen silent within a minute",
        env="NODELINK_SILENCE_BRAKE",
        flag="--silence-brake",
        parse=seconds(0, DAY),
        default=600.0,
    )
    hello_rate: int = setting(
        "how many agents may connect in a second; the others are told when to come again; 0: any number",
        env="NODELINK_HELLO_RATE",
        flag="--hello-rate",
        parse=whole_number(0, 1_000_000),
        default=100,
    )
    window: int = setting(
        "how many waiting tasks of a pool memory holds, shared by its types; the rest wait in the database",
        env="NODELINK_WINDOW",
        flag="--window",
        parse=whole_number(10, 1_000_000),
        default=10_000,
    )
    max_live_tasks: int = setting(
        "how many tasks may be live at a time; 0: any number",
        env="NODELINK_MAX_LIVE_TASKS",
        flag="--max-live-tasks",
        parse=whole_number(0, 1_000_000_000),
        default=0,
    )
    max_running: int = setting(
        "how many tasks may be with agents at a time; 0: any number",
        env="NODELINK_MAX_RUNNING",
        flag="--max-running",
        parse=whole_number(0, 1_000_000_000),
        default=0,
    )
    approval_timeout: float = setting(
        "how long a plan waits for an approval, unless its task says otherwise",
        env="NODELINK_APPROVAL_TIMEOUT",
        flag="--approval-timeout",
        parse=seconds(1, 30 * 24 * 3600),
        default=24 * 3600.0,
    )
    priority_rules: Mapping[str, int] = setting(
        "in the file, the table `[priority_rules]`: the priorities of tasks whose submitters give none, by"
        " `agent:ID`, `label:NAME=VALUE` of their metadata or `type:TYPE`",
        parse=parse_priority_rules,
        table=True,
        default_factory=dict,
    )
    assignment: AssignmentDelays = setting(  # noqa: RUF009 - it is frozen
        "in the file, the table `[assignment]`: how far apart the tries to give a waiting task to an agent are at most:"
        " `no_pool`, `no_agent_online`, `none_free`, and a list, `send_failed`",
        parse=parse_assignment,
        table=True,
        default_factory=AssignmentDelays,
    )
    scheduler_start: str = setting(
        "running: as it was left; paused: nothing new starts until somebody resumes the scheduler",
        env="NODELINK_SCHEDULER_START",
        flag="--scheduler-start",
        parse=one_of("running", "paused"),
        default="running",
    )
    checkpoint_interval: float = setting(
        "how often a checkpoint is taken, if anything has changed",
        env="NODELINK_CHECKPOINT_INTERVAL",
        flag="--checkpoint-interval",
        parse=seconds(1, 7 * DAY),
        default=300.0,
    )
    checkpoints_kept: int = setting(
        "how many checkpoints are kept; of more, the oldest go",
        env="NODELINK_CHECKPOINTS_KEPT",
        flag="--checkpoints-kept",
        parse=whole_number(1, 1_000),
        default=3,
    )
    load_checkpoint: str = setting(
        "a checkpoint's file with which a database begins that has never had a task",
        env="NODELINK_LOAD_CHECKPOINT",
        flag="--load-checkpoint",
        default="",
    )
    load_as_waiting: bool = setting(
        "of the checkpoint that is loaded, tasks that were with agents wait again, whatever their class:"
        " only right if none of them runs any more",
        env="NODELINK_LOAD_AS_WAITING",
        flag="--load-as-waiting",
        parse=yes_or_no,
        default=False,
    )
    otlp_endpoint: str = setting(
        "where spans are sent by OTLP over gRPC, as http://host:4317; none if not given",
        env="NODELINK_OTLP_ENDPOINT",
        flag="--otlp-endpoint",
        parse=parse_otlp_endpoint,
        default="",
    )
    insecure: bool = setting(
        "listen beyond loopback although there is neither TLS nor authentication:"
        " whoever reaches a port can run commands on every agent",
        env="NODELINK_INSECURE_I_ACCEPT_REMOTE_CODE_EXECUTION",
        flag=INSECURE_FLAG,
        parse=yes_or_no,
        default=False,
    )

    @property
    def database(self) -> str:
        """The database's URL, with its default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'nodelink.db'}"

    @property
    def is_exposed(self) -> bool:
        """Whether somebody beyond this machine can reach it."""
        return not (self.grpc_address.is_loopback and self.http_address.is_loopback)


def read_server_settings(argv: Sequence[str], environ: Mapping[str, str]) -> ServerSettings:
    """The settings from flags, environment and file. SettingError: a value is not right or not allowed."""
    for name in UNBUILT:
        if name in environ:
            raise SettingError(name, "environment", "this setting is not available in this version")
    settings = read_settings(ServerSettings, program="nodelink-server", section="server", argv=argv, environ=environ)
    if settings.lease < LEAST_BEATS_PER_LEASE * settings.heartbeat:
        raise SettingError(
            "lease",
            f"{settings.lease:g}s",
            f"must be at least {LEAST_BEATS_PER_LEASE} heartbeats long, or agents would stop what runs",
        )
    if settings.lost_after < settings.start_lease or settings.unknown_after < settings.start_lease:
        raise SettingError(
            "start_lease",
            f"{settings.start_lease:g}s",
            "must not be longer than lost_after and unknown_after: a task must not start when it has been given up",
        )
    for name in ("grpc_address", "http_address"):
        address: Address = getattr(settings, name)
        if not address.is_loopback and not settings.insecure:
            raise SettingError(
                name,
                str(address),
                "there is neither TLS nor authentication yet, so only loopback addresses are allowed; "
                f"{INSECURE_FLAG} allows this one, and lets whoever can reach it run commands on every agent",
            )
    return settings
