"""The start of an agent: reads the settings, starts the spawner, then the agent.

The order matters: a process that has loaded gRPC must not start others, so the spawner comes before `app` is imported.
Exit codes: 0 stopped, 2 wrong usage, 70 failed, 75 data directory in use, 78 a setting or the identity is not right.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import structlog

from nodelink import failpoints
from nodelink.grpc_setup import set_up_grpc
from nodelink.logs import configure_logs
from nodelink.settings import EX_CONFIG, SettingError
from nodelink_agent.command import SpawnerLost
from nodelink_agent.commands import start_spawner
from nodelink_agent.early_stop import EarlyStop
from nodelink_agent.identity import DirectoryHeld, IdentityError
from nodelink_agent.settings import AgentSettings, read_agent_settings

EX_SOFTWARE = 70
EX_TEMPFAIL = 75
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

_log = structlog.get_logger(__name__)


def start(argv: Sequence[str], early: EarlyStop) -> int:
    """Run an agent until it is told to stop. Returns the exit code."""
    try:
        settings = read_agent_settings(argv, os.environ)
        failpoints.arm(os.environ)
    except (SettingError, failpoints.UnknownFailpoint) as error:
        return _refuse(error, EX_CONFIG)
    configure_logs(settings.log_format)
    if not settings.server.is_loopback:
        _log.warning(
            "insecure_server_accepted", server=str(settings.server), hint="whoever reaches it can run commands"
        )
    try:
        _serve(settings, early)
    except DirectoryHeld as error:
        return _refuse(error, EX_TEMPFAIL)
    except IdentityError as error:
        return _refuse(error, EX_CONFIG)
    except (ExceptionGroup, OSError, SpawnerLost) as error:
        return _fail(error)
    return 0


def _serve(settings: AgentSettings, early: EarlyStop) -> None:
    spawner = start_spawner(settings.directory)
    set_up_grpc(os.environ)
    from nodelink_agent.app import run  # noqa: PLC0415 - see above

    run(settings, spawner, early)


def _fail(error: Exception) -> int:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, SpawnerLost) or (isinstance(error, OSError) and error.errno in FULL_DISK):
        _log.error("agent_failed", reason=str(error))  # these happen, and need no traceback
    else:
        _log.error("agent_failed", exc_info=error)
    return EX_SOFTWARE


def _refuse(error: Exception, exit_code: int) -> int:
    sys.stderr.write(f"nodelink-agent: {error}\n")
    return exit_code
