"""`nodelink tasks extend`: other limits for a task that is with an agent, from outside or from the task itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import task_ids
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import task_form
from nodelink.cli.manual import command
from nodelink.cli.naming import task_id_of
from nodelink.cli.output import output_options
from nodelink.cli.task_card import text_of_task

if TYPE_CHECKING:
    from nodelink.client import AsyncClient


@command(
    name="extend",
    examples=(
        "nodelink tasks extend 0190a1b2 --timeout 2h",
        'nodelink tasks extend "$NODELINK_TASK_ID" --timeout 10m --heartbeat-timeout 1m',
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE),
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("--timeout", metavar="DURATION", help="How long its run may still take.")
@click.option("--total-timeout", metavar="DURATION", help="How long it may still take in all, further tries included.")
@click.option("--heartbeat-timeout", metavar="DURATION", help="How long it may run without a sign of life of its own.")
@output_options()
@server_option
def extend_task(
    server: str,
    output: str,
    task_id: str,
    timeout: str | None,
    total_timeout: str | None,
    heartbeat_timeout: str | None,
) -> None:
    """Give a task that is with an agent other limits, longer or shorter, each counted from now.

    A command can do so itself: its environment has its id and the server. What is not with an agent has no limits that
    could be changed: exit code 5.
    """

    async def extend(client: AsyncClient) -> None:
        task = await client.extend(
            await task_id_of(client, task_id),
            timeout=timeout,
            total_timeout=total_timeout,
            heartbeat_timeout=heartbeat_timeout,
        )
        click.echo(text_of_task(task_form(task), output), nl=False)

    talk(server, extend)
