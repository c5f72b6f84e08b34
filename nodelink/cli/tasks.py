"""`nodelink tasks …`: look at tasks, and steer them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import click

from nodelink.cli.candidates import task_ids
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import result_form, task_form
from nodelink.cli.manual import CommandGroup
from nodelink.cli.naming import task_id_of
from nodelink.cli.output import output_options, show_all, show_one, text_of_all
from nodelink.cli.table import Column, Form, field, key, time_field
from nodelink.cli.task_approvals import approve_task, reject_task
from nodelink.cli.task_bulk import bulk, set_priority
from nodelink.cli.task_card import text_of_task
from nodelink.cli.task_decisions import abandon_task, resolve_task
from nodelink.cli.task_events import show_events
from nodelink.cli.task_extend import extend_task
from nodelink.cli.task_filter import FilterOptions, filter_of, filter_options
from nodelink.cli.task_logs import show_logs
from nodelink.cli.task_wait import wait_for_tasks
from nodelink.cli.watch import Watch, watch_option
from nodelink.cli.why import explain_task
from nodelink.task import TERMINAL

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

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


@click.group(
    cls=CommandGroup, examples=("nodelink tasks list --status failed --created-after 1h", "nodelink tasks get 0190a1b2")
)
def tasks() -> None:
    """Look at tasks, wait for them, stop them.

    A task is named by its id, or by how the id begins (6 characters or more) where only one begins so.
    """


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
@filter_options
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), metavar="N", default=50, show_default=True, help="At most so many."
)
@watch_option
@output_options()
@server_option
def list_tasks(server: str, output: str, limit: int, watch: bool, **options: Unpack[FilterOptions]) -> None:
    """List tasks, newest first."""

    async def look(client: AsyncClient) -> None:
        wanted = await filter_of(client, options)

        async def listed() -> Sequence[Form]:
            return [task_form(task) for task in await client.list(wanted, limit=limit)]

        if watch:
            await Watch(listed, lambda forms: text_of_all(forms, COLUMNS, output), output=output).run(
                client, pool=options["pool"], type=options["type"]
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
            return text_of_task(forms[0], output)

        if watch:
            await Watch(seen, text, output=output, is_over=_has_ended).run(client, task_id=found)
        else:
            click.echo(text(await seen()), nl=False)

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
        show_one(result_form(result), output)

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
        click.echo(text_of_task(task_form(task), output), nl=False)

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
        click.echo(text_of_task(task_form(task), output), nl=False)

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


for _command in (
    *(explain_task, show_logs, show_events, wait_for_tasks),
    *(bulk, set_priority, extend_task, approve_task, reject_task, abandon_task, resolve_task),
):
    tasks.add_command(_command)
