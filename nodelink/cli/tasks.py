"""`nodelink tasks …`: look at tasks, wait for them, stop them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import click

from nodelink.cli.connect import server_option
from nodelink.cli.exit_codes import Exit, code_of_result
from nodelink.cli.forms import Form, event_form, moment, result_form, task_form
from nodelink.cli.output import Column, field, output_option, say, show_all, show_line, show_one
from nodelink.cli.screen import Screen
from nodelink.cli.terminal import one_line
from nodelink.client import AsyncClient, Client, Event, TaskFilter
from nodelink.durations import parse_duration
from nodelink.task import TERMINAL, LogStream, TaskStatus

MOST_LISTED = 100_000


def _status_cell(form: Form) -> str:
    return f"{form['status']} ({form['reason']})" if form["reason"] else str(form["status"])


COLUMNS = (
    field("id"),
    field("type"),
    Column("STATUS", _status_cell),
    field("priority"),
    field("pool"),
    field("agent_id", "AGENT"),
    field("created_at"),
)


@click.group()
def tasks() -> None:
    """Look at tasks, wait for them, stop them."""


@tasks.command("list")
@click.option(
    "--status", multiple=True, type=click.Choice([status.value for status in TaskStatus]), help="May be repeated."
)
@click.option("--type", default="", help="Only this type.")
@click.option("--pool", default="", help="Only this pool.")
@click.option("--agent", default="", metavar="ID", help="Only tasks whose current attempt is on this agent.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many.")
@output_option()
@server_option
def list_tasks(server: str, output: str, status: Sequence[str], type: str, pool: str, agent: str, limit: int) -> None:
    """List tasks, newest first."""
    wanted = TaskFilter(statuses=frozenset(map(TaskStatus, status)), type=type, pool=pool, agent_id=agent)
    with Client(server) as client:
        show_all([task_form(task) for task in client.list(wanted, limit=limit)], COLUMNS, output)


@tasks.command("get")
@click.argument("task_id")
@output_option()
@server_option
def get_task(server: str, output: str, task_id: str) -> None:
    """Show a task as it stands."""
    with Client(server) as client:
        show_one(task_form(client.get(task_id)), output)


@tasks.command("result")
@click.argument("task_id")
@output_option()
@server_option
def get_result(server: str, output: str, task_id: str) -> None:
    """Show how a task ended."""
    with Client(server) as client:
        show_one(result_form(client.result(task_id)), output)


@tasks.command("cancel")
@click.argument("task_id")
@click.option("--reason", default="", help="Why, in words.")
@click.option("--grace", metavar="DURATION", help="From the signal to the kill.  [default: 10s]")
@output_option()
@server_option
def cancel_task(server: str, output: str, task_id: str, reason: str, grace: str | None) -> None:
    """Stop a task. If it has begun, it is cancelled only when its agent confirms it."""
    with Client(server) as client:
        show_one(task_form(client.cancel(task_id, reason=reason, grace=grace)), output)


@tasks.command("wait")
@click.argument("task_id")
@click.option("--timeout", metavar="DURATION", help="Give up after this, and exit with 124.")
@output_option()
@server_option
def wait_for_task(server: str, output: str, task_id: str, timeout: str | None) -> int:
    """Wait for the end of a task, show it, and exit with its code."""
    seconds = _seconds(timeout)

    async def wait() -> int:
        async with AsyncClient(server) as client:
            task = await client.wait(task_id, timeout=seconds)
            show_one(task_form(task), output)
            if not task.is_terminal:
                say(f"{task_id} has not ended yet: {task.status.value}")
                return Exit.TIMED_OUT
            return code_of_result(await client.result(task_id))

    return asyncio.run(wait())


@tasks.command("logs")
@click.argument("task_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the output is complete.")
@click.option("--stream", type=click.Choice([stream.value for stream in LogStream]), help="Only this one.")
@click.option("--attempt", type=click.IntRange(0), default=0, help="Of this attempt; else of the current one.")
@click.option("--offset", type=click.IntRange(0), default=0, help="From this byte on.")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many bytes; not with --follow.")
@click.option("--raw", is_flag=True, help="Let the output steer the terminal.")
@server_option
def show_logs(
    server: str, task_id: str, follow: bool, stream: str | None, attempt: int, offset: int, limit: int, raw: bool
) -> None:
    """Print what a task printed: each of its streams to the same one of ours."""
    if follow and limit:
        raise click.UsageError("--limit cannot be given together with --follow")
    chosen = LogStream(stream) if stream else None
    screen = Screen(raw=raw)

    async def show() -> None:
        async with AsyncClient(server) as client:
            if follow:
                parts = client.stream_logs(task_id, stream=chosen, attempt=attempt, offset=offset)
            else:
                parts = client.logs(task_id, stream=chosen, attempt=attempt, offset=offset, limit=limit)
            async with aclosing(parts):
                async for part in parts:
                    screen.show([part])

    asyncio.run(show())


@tasks.command("events")
@click.argument("task_id", required=False, default="")
@click.option("--agent", default="", metavar="ID", help="Only the runs of this agent.")
@click.option("--pool", default="", help="Only this pool.")
@click.option("--type", default="", help="Only this type.")
@click.option("--after", type=click.IntRange(0), default=0, metavar="REVISION", help="Go on after this revision.")
@click.option("-o", "--output", type=click.Choice(("table", "ndjson")), default="table", show_default=True)
@server_option
def show_events(server: str, output: str, task_id: str, agent: str, pool: str, type: str, after: int) -> None:
    """Print events as they happen. With TASK_ID: from its first event until it has ended."""

    async def show() -> None:
        async with AsyncClient(server) as client:
            if task_id:
                await client.get(task_id)
            events = client.watch(task_id=task_id, agent_id=agent, pool=pool, type=type, after=after)
            async with aclosing(events):
                async for event in events:
                    _show_event(event, output)
                    if task_id and event.status in TERMINAL:
                        return

    asyncio.run(show())


def _show_event(event: Event, output: str) -> None:
    if output == "ndjson":
        show_line(event_form(event))
        return
    status = event.status.value if event.status else ""
    cells = (moment(event.time) or "", f"{event.name:<16}", event.task_id or event.agent_id, status, event.reason)
    click.echo("  ".join(one_line(cell) for cell in cells).rstrip())


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--timeout: {error}") from error
