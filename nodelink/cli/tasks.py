"""`nodelink tasks …`: look at tasks, and steer them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import agent_names, pools, task_ids, types
from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import result_form, task_form
from nodelink.cli.late import sdk
from nodelink.cli.manual import CommandGroup
from nodelink.cli.naming import agent_id_of, task_id_of
from nodelink.cli.output import output_options, show_all, show_one, text_of_all, text_of_one
from nodelink.cli.table import Column, Form, field, key, time_field
from nodelink.cli.task_events import show_events
from nodelink.cli.task_logs import show_logs
from nodelink.cli.task_options import read_pairs
from nodelink.cli.task_wait import wait_for_tasks
from nodelink.cli.times import ms_of_moment, read_past
from nodelink.cli.watch import Watch, watch_option
from nodelink.task import TERMINAL, TaskStatus

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, TaskFilter

MOST_LISTED = 100_000
FIND = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE)
"""The codes of a command that is given a task's id, or how it begins."""


def status_cell(form: Form, _now: int) -> str:
    """A status with its reason."""
    return f"{form['status']} ({form['reason']})" if form["reason"] else str(form["status"])


COLUMNS = (
    key("id"),
    field("type", weight=50),
    Column(title="STATUS", cell=status_cell, weight=90, is_status=True),
    field("priority", "PRIO", weight=20),
    field("pool", weight=30),
    field("agent_id", "AGENT", weight=10),
    time_field("created_at", "CREATED", weight=40),
)
TIMES = (
    *("created_at", "scheduled_at", "sent_at", "started_at", "finished_at", "updated_at"),
    *("last_contact", "completed_at"),
)


@click.group(
    cls=CommandGroup, examples=("nodelink tasks list --status failed --created-after 1h", "nodelink tasks get 0190a1b2")
)
def tasks() -> None:
    """Look at tasks, wait for them, stop them.

    A task is named by its id, or by how the id begins (6 characters or more) where only one begins so.
    """


def _past(_context: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    try:
        return None if given is None else read_past(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@tasks.command(
    "list",
    examples=(
        "nodelink tasks list --status running --status pending",
        "nodelink tasks list --type shell --created-after 1h -o ndjson",
        "nodelink tasks list --label team=green --limit 10 -o id",
        "nodelink tasks list --watch",
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.UNREACHABLE),
)
@click.option("--status", multiple=True, type=Choice(list(TaskStatus)), help="Only these. May be repeated.")
@click.option("--type", default="", shell_complete=types, help="Only this type.")
@click.option("--pool", default="", shell_complete=pools, help="Only this pool.")
@click.option(
    "--agent", default="", metavar="NAME|ID", shell_complete=agent_names, help="Only those that this agent has or had."
)
@click.option(
    "--label",
    multiple=True,
    metavar="KEY=VALUE",
    callback=read_pairs,
    help="Only with this in their metadata. May be repeated: all of it.",
)
@click.option("--created-after", metavar="AGO|TIME", callback=_past, help="Not older: 1h30m, or 2030-01-31T09:30:00Z.")
@click.option("--created-before", metavar="AGO|TIME", callback=_past, help="Older: 1h30m, or 2030-01-31T09:30:00Z.")
@click.option("--q", default="", metavar="TEXT", help="How the id begins, a type, or KEY=VALUE of the metadata.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), metavar="N", default=50, show_default=True, help="At most so many."
)
@watch_option
@output_options()
@server_option
def list_tasks(
    server: str,
    output: str,
    status: Sequence[str],
    type: str,
    pool: str,
    agent: str,
    label: Mapping[str, str],
    created_after: datetime | None,
    created_before: datetime | None,
    q: str,
    limit: int,
    watch: bool,
) -> None:
    """List tasks, newest first."""

    async def look(client: AsyncClient) -> None:
        agent_id = await agent_id_of(client, agent) if agent else ""
        wanted: TaskFilter = sdk.TaskFilter(
            statuses=frozenset(status),
            type=type,
            pool=pool,
            agent_id=agent_id,
            created_after=ms_of_moment(created_after) if created_after else None,
            created_before=ms_of_moment(created_before) if created_before else None,
            labels=label,
            q=q,
        )

        async def listed() -> Sequence[Form]:
            return [task_form(task) for task in await client.list(wanted, limit=limit)]

        if watch:
            await Watch(listed, lambda forms: text_of_all(forms, COLUMNS, output), output=output).run(
                client, pool=pool, type=type
            )
        else:
            show_all(await listed(), COLUMNS, output)

    talk(server, look)


@tasks.command(
    "get",
    examples=("nodelink tasks get 0190a1b2 -o json", "nodelink tasks get 0190a1b2 --watch"),
    exits=FIND,
)
@click.argument("task_id", shell_complete=task_ids)
@watch_option
@output_options()
@server_option
def get_task(server: str, output: str, task_id: str, watch: bool) -> None:
    """Show a task as it stands. With --watch: until it has ended."""

    async def look(client: AsyncClient) -> None:
        found = await task_id_of(client, task_id)

        async def seen() -> Sequence[Form]:
            return [task_form(await client.get(found))]

        def text(forms: Sequence[Form]) -> str:
            return text_of_one(forms[0], output, times=TIMES)

        if watch:
            await Watch(seen, text, output=output, is_over=_has_ended).run(client, task_id=found)
        else:
            show_one((await seen())[0], output, times=TIMES)

    talk(server, look)


def _has_ended(forms: Sequence[Form]) -> bool:
    return all(form["status"] in TERMINAL for form in forms)


@tasks.command("result", examples=("nodelink tasks result 0190a1b2 -o json",), exits=FIND)
@click.argument("task_id", shell_complete=task_ids)
@output_options()
@server_option
def get_result(server: str, output: str, task_id: str) -> None:
    """Show how a task ended. As long as it has not, the exit code is 5."""

    async def look(client: AsyncClient) -> None:
        result = await client.result(await task_id_of(client, task_id))
        show_one(result_form(result), output, times=TIMES)

    talk(server, look)


@tasks.command(
    "cancel",
    examples=("nodelink tasks cancel 0190a1b2 --reason 'wrong branch'", "nodelink tasks cancel 0190a1b2 --grace 0s"),
    exits=FIND,
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("--reason", default="", metavar="TEXT", help="Why, in words.")
@click.option("--grace", metavar="DURATION", help="From the signal to the kill.  [default: 10s]")
@output_options()
@server_option
def cancel_task(server: str, output: str, task_id: str, reason: str, grace: str | None) -> None:
    """Stop a task. If it has begun, it is cancelled only when its agent confirms it.

    What has ended already cannot be cancelled: exit code 5.
    """

    async def stop(client: AsyncClient) -> None:
        task = await client.cancel(await task_id_of(client, task_id), reason=reason, grace=grace)
        show_one(task_form(task), output, times=TIMES)

    talk(server, stop)


@tasks.command(
    "retry",
    examples=("nodelink tasks retry 0190a1b2", "nodelink tasks wait $(nodelink tasks retry 0190a1b2)"),
    exits=FIND,
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("--idempotency-key", metavar="KEY", help="Asking again with the same key gives the same new task.")
@output_options("id")
@server_option
def retry_task(server: str, output: str, task_id: str, idempotency_key: str | None) -> None:
    """Run a task that has ended once more, as a new task, whose id is printed."""

    async def again(client: AsyncClient) -> None:
        task = await client.retry(await task_id_of(client, task_id), idempotency_key=idempotency_key)
        show_one(task_form(task), output, times=TIMES)

    talk(server, again)


@tasks.command(
    "cleanup", examples=("nodelink tasks cleanup --older-than 7d",), exits=(Exit.OK, Exit.USAGE, Exit.UNREACHABLE)
)
@click.option("--older-than", metavar="DURATION", required=True, help="Those that ended longer ago than that.")
@output_options()
@server_option
def clean_up(server: str, output: str, older_than: str) -> None:
    """Remove tasks that ended long ago from the server, with their output, and tell how many they were."""

    async def remove(client: AsyncClient) -> None:
        show_one({"removed": await client.clean_up(older_than)}, output)

    talk(server, remove)


for _command in (show_logs, show_events, wait_for_tasks):
    tasks.add_command(_command)
