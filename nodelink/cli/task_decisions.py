"""`nodelink tasks abandon` and `resolve`: what a person decides about a task whose end nobody sees."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import task_ids
from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import task_form
from nodelink.cli.manual import command
from nodelink.cli.naming import task_id_of
from nodelink.cli.output import output_options
from nodelink.cli.task_card import text_of_task

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

RESOLUTIONS = ("completed", "failed", "rerun")
EXITS = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE)


@command(
    name="abandon",
    examples=("nodelink tasks abandon 0190a1b2 --reason 'its machine is gone for good'",),
    exits=EXITS,
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("--reason", metavar="TEXT", required=True, help="Why, in words. It stays with the task.")
@output_options()
@server_option
def abandon_task(server: str, output: str, task_id: str, reason: str) -> None:
    """Give a live task up: it has failed, whatever its agent does.

    Its agent is told to stop it when it is next heard of. To stop a task whose agent is there, use `cancel`.
    """

    async def decide(client: AsyncClient) -> None:
        task = await client.abandon(await task_id_of(client, task_id), reason=reason)
        click.echo(text_of_task(task_form(task), output), nl=False)

    talk(server, decide)


@command(
    name="resolve",
    examples=(
        "nodelink tasks resolve 0190a1b2 --as completed --reason 'the release is out'",
        "nodelink tasks resolve 0190a1b2 --as rerun --reason 'the machine was off' --yes",
    ),
    exits=(*EXITS, Exit.INTERRUPTED),
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("--as", "resolution", type=Choice(RESOLUTIONS), required=True, help="What became of it.")
@click.option("--reason", metavar="TEXT", required=True, help="How you know, in words. It stays with the task.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask again before it runs a second time.")
@output_options()
@server_option
def resolve_task(server: str, output: str, task_id: str, resolution: str, reason: str, yes: bool) -> None:
    """Say what became of a task whose status is unknown. Its lock is free then.

    completed: it did what was asked. failed: it did not. rerun: run it again, as its next attempt; on a terminal you
    are asked once more, elsewhere that needs --yes.
    """
    if resolution == "rerun" and not yes:
        _ask_again(task_id)

    async def decide(client: AsyncClient) -> None:
        task = await client.resolve(await task_id_of(client, task_id), as_=resolution, reason=reason)
        click.echo(text_of_task(task_form(task), output), nl=False)

    talk(server, decide)


def _ask_again(task_id: str) -> None:
    """Ask whether it may run a second time. Abort: it may not. UsageError: there is nobody to ask."""
    if not sys.stdin.isatty():
        raise click.UsageError("--as rerun runs it a second time: where nobody can be asked, say --yes")
    click.echo(f"{task_id} may have done its work already, or be at it still.", err=True)
    click.confirm("Run it a second time?", abort=True, err=True)
