"""`nodelink-server`: reads the settings, then serves.

Exit codes: 0 stopped, 2 wrong usage, 69 an address is taken, 70 failed, 75 the database is held by another server or
cannot be used now, 78 a setting, the data directory or the database is not right.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from nodelink import failpoints
from nodelink.errors import NodelinkError
from nodelink.grpc_setup import set_up_grpc
from nodelink.logs import configure_logs
from nodelink.settings import EX_CONFIG, SettingError
from nodelink_server.settings import ServerSettings, read_server_settings

EX_SOFTWARE = 70

log = structlog.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a server until it is told to stop. Returns the exit code."""
    try:
        settings = read_server_settings(sys.argv[1:] if argv is None else argv, os.environ)
        _make_directory(settings.data_dir)
        failpoints.arm(os.environ)
    except (SettingError, failpoints.UnknownFailpoint) as error:
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
    set_up_grpc(os.environ)
    with _loading():
        from nodelink_server.app import CannotBegin, run  # noqa: PLC0415 - see above

    try:
        run(settings)
    except CannotBegin as refusal:
        return _refuse(refusal, refusal.exit_code)
    except (NodelinkError, ExceptionGroup) as error:
        log.error("server_failed", exc_info=error)
        return EX_SOFTWARE
    return 0


@contextmanager
def _loading() -> Iterator[None]:
    """Let the garbage collector look once, at the end: what is loaded stays, and looking at it again takes a tenth."""
    gc.disable()
    try:
        yield
        gc.collect()
        gc.freeze()
    finally:
        gc.enable()


def _refuse(error: Exception, exit_code: int) -> int:
    sys.stderr.write(f"nodelink-server: {error}\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
