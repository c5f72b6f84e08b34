"""The agent's settings."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodelink.address import Address, parse_address
from nodelink.otlp import parse_otlp_endpoint
from nodelink.plan import DEFAULT_PLAN_LIMIT
from nodelink.settings import (
    SettingError,
    each,
    labels,
    one_of,
    pairs,
    read_settings,
    seconds,
    setting,
    whole_number,
    yes_or_no,
)
from nodelink.task import DEFAULT_POOL
from nodelink_agent.resources import parse_resources
from nodelink_agent.tools.table import RUNNERS

INSECURE_FLAG = "--insecure-i-accept-remote-code-execution"
MAX_SLOTS = 4_096
MAX_TYPES = 256
LEAVE, STOP = "leave", "stop"


_TYPE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}", re.IGNORECASE | re.ASCII)


def _name(text: str) -> str:
    if not 0 < len(text) <= 200 or not text.isprintable():
        raise ValueError(f"{text!r} is not a name; use 1 to 200 printable characters")
    return text


def _type_limits(text: str) -> dict[str, int]:
    """How many at a time, by type: `shell=2,echo=10`."""
    found = pairs(text, "types with their limits", "shell=2,echo=10")
    for type in found:
        if not _TYPE.fullmatch(type):
            raise ValueError(f"{type[:64]!r} is not a type; types are 1 to 63 letters, digits, '.', '_' or '-'")
    if len(found) > MAX_TYPES:
        raise ValueError(f"{len(found)} types are too many; limit at most {MAX_TYPES}")
    return each(found, whole_number(1, MAX_SLOTS))


def _tools(text: str) -> tuple[str, ...]:
    """Names of tools: `ansible`, `terraform`, `tofu`."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in RUNNERS:
            raise ValueError(f"{name[:64]!r} is not a tool; these are: {', '.join(RUNNERS)}")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """A NodeLink agent: runs tasks for a server."""

    server: Address = setting(  # noqa: RUF009 - an address is immutable
        "the server's gRPC address",
        env="NODELINK_SERVER",
        flag="--server",
        parse=parse_address,
        default=Address("127.0.0.1", 50051),
    )
    name: str = setting(
        "a label for people; the host's name if not given",
        env="NODELINK_AGENT_NAME",
        flag="--name",
        parse=_name,
        default="",
    )
    pool: str = setting("the pool to work for", env="NODELINK_POOL", flag="--pool", parse=_name, default=DEFAULT_POOL)
    slots: int = setting(
        "how many tasks to run at a time",
        env="NODELINK_SLOTS",
        flag="--slots",
        parse=whole_number(1, MAX_SLOTS),
        default=5,
    )
    labels: Mapping[str, str] = setting(
        "labels, as key=value,key=value", env="NODELINK_LABELS", flag="--labels", parse=labels, default_factory=dict
    )
    resources: Mapping[str, int] = setting(
        "what it has for tasks, as cpu=4,memory=8GiB,gpu=2; beside what is named here the processors (cpu) and the "
        "memory that it finds; name=0: none",
        env="NODELINK_RESOURCES",
        flag="--resources",
        parse=parse_resources,
        default_factory=dict,
    )
    type_limits: Mapping[str, int] = setting(
        "how many tasks of a type to run at a time at most, as shell=2,echo=10",
        env="NODELINK_TYPE_LIMITS",
        flag="--type-limits",
        parse=_type_limits,
        default_factory=dict,
    )
    plan_limit: int = setting(
        "how many plans to make at a time at most; while it applies a change, the agent does nothing else",
        env="NODELINK_PLAN_LIMIT",
        flag="--plan-limit",
        parse=whole_number(1, MAX_SLOTS),
        default=DEFAULT_PLAN_LIMIT,
    )
    tools: Sequence[str] = setting(
        "what plans and applies: ansible, terraform, tofu; it runs plans with one only, and each runs what it is given",
        env="NODELINK_TOOLS",
        flag="--tools",
        parse=_tools,
        default=(),
    )
    data_dir: Path = setting(  # noqa: RUF009 - so is a path
        "where identity and output are kept",
        env="NODELINK_DATA_DIR",
        flag="--data-dir",
        parse=Path,
        default=Path(".nodelink"),
    )
    log_format: str = setting(
        "console or json",
        env="NODELINK_LOG_FORMAT",
        flag="--log-format",
        parse=one_of("console", "json"),
        default="console",
    )
    shutdown_grace: float = setting(
        "how long running tasks may go on after SIGTERM",
        env="NODELINK_SHUTDOWN_GRACE",
        flag="--shutdown-grace",
        parse=seconds(0, 86_400),
        default=30.0,
    )
    on_stop: str = setting(
        "what becomes of running commands on SIGTERM: leave (the next start takes them up) or stop",
        env="NODELINK_ON_STOP",
        flag="--on-stop",
        parse=one_of(LEAVE, STOP),
        default=LEAVE,
    )
    result_reserve: int = setting(
        "MiB of disk held back for results, for when the disk is full",
        env="NODELINK_RESULT_RESERVE",
        flag="--result-reserve",
        parse=whole_number(0, 65_536),
        default=64,
    )
    otlp_endpoint: str = setting(
        "where spans are sent by OTLP over gRPC, as http://host:4317; none if not given",
        env="NODELINK_OTLP_ENDPOINT",
        flag="--otlp-endpoint",
        parse=parse_otlp_endpoint,
        default="",
    )
    insecure: bool = setting(
        "allow a server beyond loopback although there is no TLS: whoever reaches the port can run commands here",
        env="NODELINK_INSECURE_I_ACCEPT_REMOTE_CODE_EXECUTION",
        flag=INSECURE_FLAG,
        parse=yes_or_no,
        default=False,
    )

    @property
    def directory(self) -> Path:
        """The agent's own part of the data directory."""
        return self.data_dir.absolute() / "agent"

    @property
    def label(self) -> str:
        """The name under which people see the agent."""
        return self.name or socket.gethostname()


def read_agent_settings(argv: Sequence[str], environ: Mapping[str, str]) -> AgentSettings:
    """The settings from flags, environment and file. SettingError: a value is not right or not allowed."""
    settings = read_settings(AgentSettings, program="nodelink-agent", section="agent", argv=argv, environ=environ)
    _find_tools(settings.tools, environ)
    if not settings.server.is_loopback and not settings.insecure:
        raise SettingError(
            "server",
            str(settings.server),
            "the connection is not encrypted yet, so only loopback addresses are allowed; "
            f"{INSECURE_FLAG} allows this one, and lets whoever can reach the port run commands here",
        )
    return settings


def _find_tools(tools: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise if a tool is not installed."""
    for tool in tools:
        program = RUNNERS[tool].program
        if shutil.which(program, path=environ.get("PATH")) is None:
            raise SettingError(
                "tools",
                "--tools or NODELINK_TOOLS",
                f"{program!r} is not in the PATH; install it, or leave the tool out",
            )
