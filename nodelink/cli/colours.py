"""Colours, which say what a status means. `click` drops them where no terminal is, or where nobody wants them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from nodelink.task import TaskStatus

GOOD, BUSY, WAITING, BAD, QUIET = "green", "cyan", "yellow", "red", "bright_black"

OF_STATUSES: Mapping[str, str] = {
    **dict.fromkeys(TaskStatus, BUSY),
    TaskStatus.PENDING: WAITING,
    TaskStatus.SCHEDULED: WAITING,
    TaskStatus.COMPLETED: GOOD,
    TaskStatus.FAILED: BAD,
    TaskStatus.TIMEOUT: BAD,
    TaskStatus.LOST: BAD,
    TaskStatus.UNKNOWN: BAD,
    TaskStatus.CANCELLED: QUIET,
    TaskStatus.SKIPPED: QUIET,
    "online": GOOD,
    "unreachable": BAD,
    "offline": QUIET,
    "draining": WAITING,
    "cordoned": WAITING,
    "running": GOOD,
    "paused": WAITING,
    "ok": GOOD,
    "warn": WAITING,
    "fail": BAD,
}
"""The colour of each status: of a task, an agent, the scheduler, or a check of `doctor`."""


def wanted() -> bool | None:
    """What the environment says of colours: None leaves it to whether a terminal is there, else False."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return None


def of_status(text: str) -> str:
    """The text in the colour of the status that it begins with."""
    return click.style(text, fg=OF_STATUSES.get(text.split(" ", 1)[0]))


def heading(text: str) -> str:
    """The title of a column or a line."""
    return click.style(text, bold=True)
