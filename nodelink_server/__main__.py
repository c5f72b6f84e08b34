"""`nodelink-server`: reads the settings, then serves.

Exit codes: 0 stopped, 2 wrong usage, 69 an address is taken, 70 failed, 75 the database is held by another server,
78 a setting, the data directory or the database is not right.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from nodelink.errors import CannotListen, NodelinkError, StoreError
from nodelink.logs import configure_logs
from nodelink.settings import EX_CONFIG, SettingError
from nodelink_server.settings import ServerSettings, read_server_settings

EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a server until it is told to stop. Returns the exit code."""
    try:
        settings = read_server_settings(sys.argv[1:] if argv is None else argv, os.environ)
        _make_directory(settings.data_dir)
    except SettingError as error:
        return _refuse(error, EX_CONFIG)
    configure_logs(settings.log_format)
    if settings.is_exposed:
        log.warning("insecure_addresses_accepted", hint="whoever reaches them can run commands on every agent")
    return _serve(settings)


def _make_directory(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError("data_dir", str(data_dir), f"cannot be made: {error.strerror}") from error


def _serve(settings: ServerSettings) -> int:
    # gRPC reads these when it is loaded: no fork handlers, and no chatter about the ordinary closing of connections.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from nodelink_server.app import run  # noqa: PLC0415 - see above
    from nodelink_server.store.errors import DatabaseHeld  # noqa: PLC0415

    try:
        run(settings)
    except (NodelinkError, ExceptionGroup) as error:
        refusals = list(_refusals(error))
        if not refusals:
            log.error("server_failed", exc_info=error)
            return EX_SOFTWARE
        code = EX_UNAVAILABLE if isinstance(refusals[0], CannotListen) else EX_CONFIG
        return _refuse(refusals[0], EX_TEMPFAIL if isinstance(refusals[0], DatabaseHeld) else code)
    return 0


def _refusals(error: BaseException) -> Iterator[NodelinkError]:
    """The reasons why a server could not begin, among the errors that came together."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _refusals(part)
    elif isinstance(error, CannotListen | StoreError):
        yield error


def _refuse(error: Exception, exit_code: int) -> int:
    sys.stderr.write(f"nodelink-server: {error}\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
