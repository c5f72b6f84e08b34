"""`nodelink tasks wait`: the ends of tasks, as the exit code tells them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nodelink.cli.background import background
from nodelink.cli.candidates import task_ids
from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit, code_of_result
from nodelink.cli.forms import result_form, task_form
from nodelink.cli.manual import command
from nodelink.cli.naming import task_ids_of
from nodelink.cli.output import output_options, say, show_all, show_one
from nodelink.cli.progress import ProgressLine, show_progress
from nodelink.cli.table import Column, Form, field, key
from nodelink.cli.task_reach import reach
from nodelink.durations import parse_duration
from nodelink.task import TaskStatus

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, TaskResult

FINISHED = "finished"
STATUSES = (*(status.value for status in TaskStatus), FINISHED)

MOST_AT_ONCE = 1_000
"""How many tasks one call waits for."""


def _error_cell(form: Form, _now: int) -> str:
    return form["error"]["message"] if form["error"] else ""


COLUMNS = (
    key("task_id", "ID"),
    Column(title="STATUS", cell=lambda form, _now: form["status"], weight=90, is_status=True),
    field("exit_code", "EXIT", weight=80),
    Column(title="RAN", cell=lambda form, _now: f"{form['metrics']['run_seconds']:.1f}s", weight=50),
    Column(title="ERROR", cell=_error_cell, weight=40),
)


@command(
    name="wait",
    examples=(
        "nodelink tasks wait 0190a1b2 --timeout 10m",
        "nodelink tasks wait --any 0190a1b2 0190a1c3",
        "nodelink tasks wait 0190a1b2 --for in_progress",
        "nodelink tasks wait $(nodelink tasks list --label release=7 -o id)",
    ),
    exits=(
        Exit.OK,
        Exit.FAILED,
        Exit.NOT_FOUND,
        Exit.CONFLICT,
        Exit.UNREACHABLE,
        Exit.TIMED_OUT,
        Exit.LOST,
        Exit.INTERRUPTED,
    ),
)
@click.argument("ids", nargs=-1, required=True, metavar="TASK_ID...", shell_complete=task_ids)
@click.option(
    "--any/--all", "any_of_them", default=False, help="Until the first has ended, or all have.  [default: all]"
)
@click.option(
    "--for",
    "status",
    type=Choice(STATUSES),
    default=FINISHED,
    metavar="STATUS",
    show_default=True,
    help="Until they have reached this status, or are past it; finished is any end.",
)
@click.option("--timeout", metavar="DURATION", help="Give up after this, and exit with 124.")
@output_options()
@server_option
def wait_for_tasks(
    server: str, output: str, ids: Sequence[str], any_of_them: bool, status: str, timeout: str | None
) -> int:
    """Wait for the end of tasks, and exit with the code of the first that did not end well, in the order given.

    A task's code is its command's own where it has one. One task is shown as it stands; of several, the results.
    With --for, of at most 100 tasks: until they have come so far, with exit code 0; if one has ended otherwise, and so
    never will, with 5. Ctrl-C ends the waiting; the tasks go on.
    """
    seconds = seconds_of(timeout)

    async def wait(client: AsyncClient) -> int:
        found = await task_ids_of(client, ids)
        if status != FINISHED:
            return await reach(client, found, status, seconds, output, any_of_them=any_of_them)
        if len(found) == 1:
            return await _one(client, found[0], seconds, output)
        return await _several(client, found, seconds, output, any_of_them=any_of_them)

    return talk(server, wait)


async def _one(client: AsyncClient, task_id: str, seconds: float | None, output: str) -> int:
    line = ProgressLine()
    async with background(show_progress(client, task_id, line)):
        task = await client.wait(task_id, timeout=seconds)
    line.clear()
    show_one(task_form(task), output)
    if task.is_terminal:
        return code_of_result(await client.result(task_id))
    say(f"{task_id} has not ended yet: {task.status.value}")
    return Exit.TIMED_OUT


async def _several(
    client: AsyncClient, ids: Sequence[str], seconds: float | None, output: str, *, any_of_them: bool
) -> int:
    ended = await _ends(client, ids, seconds, enough=1 if any_of_them else len(ids))
    results = [ended[task_id] for task_id in ids if task_id in ended]
    show_all([result_form(result) for result in results], COLUMNS, output)
    if len(results) < (1 if any_of_them else len(ids)):
        say(f"{len(ids) - len(results)} of {len(ids)} have not ended yet")
        return Exit.TIMED_OUT
    return next((code for code in map(code_of_result, results) if code), Exit.OK)


async def _ends(
    client: AsyncClient, ids: Sequence[str], seconds: float | None, *, enough: int
) -> dict[str, TaskResult]:
    """The results of so many of them, or of those that have ended in time."""
    until = None if seconds is None else time.monotonic() + seconds
    ended: dict[str, TaskResult] = {}
    line = ProgressLine()
    while len(ended) < enough:
        line.show(len(ended) / len(ids), f"{len(ended)} of {len(ids)} have ended")
        left = [task_id for task_id in ids if task_id not in ended][:MOST_AT_ONCE]
        rest = None if until is None else max(0.0, until - time.monotonic())
        fresh = await client.wait_any(left, timeout=rest)
        if not fresh:
            break
        ended.update({result.task_id: result for result in fresh})
    line.clear()
    return ended


def seconds_of(text: str | None) -> float | None:
    """What `--timeout` says. UsageError: it is no duration."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--timeout: {error}") from error
