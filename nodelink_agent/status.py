"""Whether this agent is linked to its server, told in a file to those beside it on the machine: probes and people.

The file is written anew every few seconds for as long as the agent's loop turns, so an old one says that it does not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import structlog

FILE_NAME = "status.json"
EVERY_SECONDS = 2.0
FRESH_SECONDS = 15.0
"""How old the file of an agent may be whose loop turns."""

_log = structlog.get_logger(__name__)


async def tell_status(directory: Path, *, server: str, is_linked: Callable[[], bool]) -> None:
    """Say in `directory`, again and again, whether there is a link. Goes on until it is cancelled."""
    path, could = directory / FILE_NAME, True
    while True:
        try:
            await asyncio.to_thread(_write, path, {"linked": is_linked(), "server": server})
            could = True
        except OSError as error:
            if could:  # once, not every time
                _log.warning("status_not_written", path=str(path), error=str(error))
            could = False
        await asyncio.sleep(EVERY_SECONDS)


def forget_status(directory: Path) -> None:
    """Say no more: the agent stops."""
    (directory / FILE_NAME).unlink(missing_ok=True)


def status_problem(directory: Path, *, now: float) -> str:
    """Why the agent of a directory does no work for a server at `now`, a Unix time in seconds. Empty: it does."""
    path = directory / FILE_NAME
    try:
        age = now - path.stat().st_mtime
        status = json.loads(path.read_text(encoding="utf-8"))
        linked, server = bool(status["linked"]), str(status["server"])
    except FileNotFoundError:
        return f"no agent runs on {directory}"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"the status file {path} cannot be read: {error}"
    if abs(age) > FRESH_SECONDS:  # from the future: the clock was set back, and nothing was written since
        return f"the agent has not written its status for {abs(age):.0f} s: it has died or stands still"
    return "" if linked else f"the agent is not linked to the server {server}"


def _write(path: Path, status: dict[str, object]) -> None:
    """Replace the file as a whole. It need not outlive a crash of the machine."""
    written = path.with_suffix(".tmp")
    written.write_text(json.dumps(status) + "\n", encoding="utf-8")
    written.replace(path)
