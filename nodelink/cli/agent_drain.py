"""`nodelink agents drain` and `undrain`: which agents get work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nodelink.cli.agent_card import show_agent
from nodelink.cli.candidates import agent_names
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import agent_form
from nodelink.cli.manual import command
from nodelink.cli.naming import agent_id_of
from nodelink.cli.output import output_options, say
from nodelink.cli.task_wait import seconds_of

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

FIND = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE)


@command(
    name="drain",
    examples=(
        "nodelink agents drain build-7 --note 'a new disk'",
        "nodelink agents drain build-7 --deadline 10m --wait",
    ),
    exits=(*FIND, Exit.TIMED_OUT),
)
@click.argument("agent", shell_complete=agent_names)
@click.option("--note", default="", metavar="TEXT", help="Why, in words.")
@click.option(
    "--deadline",
    metavar="DURATION",
    help="After this, what still runs there is stopped.  [default: it may go on]",
)
@click.option("--wait", is_flag=True, help="Wait until nothing runs there any more.")
@click.option("--timeout", metavar="DURATION", help="With --wait: give up after this, and exit with 124.")
@output_options()
@server_option
def drain_agent(
    server: str, output: str, agent: str, note: str, deadline: str | None, wait: bool, timeout: str | None
) -> int:
    """Have an agent become empty: it gets nothing new, and what it has not begun goes to others at once.

    It stays so over restarts, until `undrain`. Ctrl-C ends only the waiting. Said again, the last word counts.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is about waiting: say --wait as well")
    seconds = seconds_of(timeout)

    async def drain(client: AsyncClient) -> int:
        agent_id = await agent_id_of(client, agent)
        shown = await client.drain_agent(agent_id, note=note, deadline=deadline)
        if wait:
            shown = await client.wait_until_empty(agent_id, timeout=seconds)
        show_agent(agent_form(shown), output)
        if not wait or not shown.current_tasks:
            return Exit.OK
        say(f"{len(shown.current_tasks)} task(s) still run there")
        return Exit.TIMED_OUT

    return talk(server, drain)


@command(name="undrain", examples=("nodelink agents undrain build-7",), exits=FIND)
@click.argument("agent", shell_complete=agent_names)
@output_options()
@server_option
def undrain_agent(server: str, output: str, agent: str) -> None:
    """Let an agent have new work again that is drained, or that was kept from work for its failures."""

    async def lift(client: AsyncClient) -> None:
        show_agent(agent_form(await client.undrain_agent(await agent_id_of(client, agent))), output)

    talk(server, lift)
