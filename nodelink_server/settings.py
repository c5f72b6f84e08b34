"""The server's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodelink.address import Address, parse_address
from nodelink.otlp import parse_otlp_endpoint
from nodelink.settings import SettingError, one_of, read_settings, seconds, setting, whole_number, yes_or_no

INSECURE_FLAG = "--insecure-i-accept-remote-code-execution"
DAY = 24 * 3600.0

UNBUILT = (
    "NODELINK_MAX_RUNNING",
    "NODELINK_SCHEDULE_MAX_RUNNING",
    "NODELINK_CHECKPOINT_INTERVAL",
    "NODELINK_SCHEDULER_START",
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
    heartbeat: float = setting(
        "how often agents report; silent for three times as long, they are unreachable",
        env="NODELINK_HEARTBEAT",
        flag="--heartbeat",
        parse=seconds(0.1, 300),
        default=5.0,
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
