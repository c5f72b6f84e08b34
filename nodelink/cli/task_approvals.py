"""`nodelink tasks approve` and `reject`: what a person says of a plan."""

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

EXITS = (Exit.OK, Exit.USAGE, Exit.DENIED, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE)
_SHA256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"


@command(
    name="approve",
    examples=(f"nodelink tasks approve 0190a1b2 --plan {_SHA256}",),
    exits=EXITS,
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("--plan", "plan_sha256", metavar="SHA256", required=True, help="The plan, by the digest that you saw.")
@click.option("--inputs", "inputs_sha256", metavar="SHA256", default="", help="Only if it was made from these inputs.")
@click.option("--target", metavar="NAME", default="", help="Only if this is what it changes.")
@click.option("--message", metavar="TEXT", default="", help="Why, in words. It stays with the task.")
@output_options()
@server_option
def approve_task(
    server: str, output: str, task_id: str, plan_sha256: str, inputs_sha256: str, target: str, message: str
) -> None:
    """Let a task apply its plan: the one that you name, and no other.

    `nodelink plans get` shows the plan with its digest. If another plan waits by now, nothing is approved.
    """

    async def say(client: AsyncClient) -> None:
        task = await client.approve(
            await task_id_of(client, task_id),
            plan_sha256=plan_sha256,
            inputs_sha256=inputs_sha256,
            target=target,
            message=message,
        )
        click.echo(text_of_task(task_form(task), output), nl=False)

    talk(server, say)


@command(
    name="reject",
    examples=("nodelink tasks reject 0190a1b2 --message 'too much at a time'",),
    exits=EXITS,
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("--plan", "plan_sha256", metavar="SHA256", default="", help="Only if this plan waits.")
@click.option("--message", metavar="TEXT", default="", help="Why, in words. It stays with the task.")
@output_options()
@server_option
def reject_task(server: str, output: str, task_id: str, plan_sha256: str, message: str) -> None:
    """End a task whose plan waits for an approval. Nothing is applied, and its lock is free."""

    async def say(client: AsyncClient) -> None:
        task = await client.reject(await task_id_of(client, task_id), plan_sha256=plan_sha256, message=message)
        click.echo(text_of_task(task_form(task), output), nl=False)

    talk(server, say)
