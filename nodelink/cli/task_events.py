"""`nodelink tasks events`: what happens, as it happens."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import agent_names, pools, task_ids, types
from nodelink.cli.colours import of_status
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import event_form
from nodelink.cli.manual import command
from nodelink.cli.naming import agent_id_of, task_id_of
from nodelink.cli.output import output_options, show_streamed
from nodelink.cli.terminal import one_line
from nodelink.cli.times import moment
from nodelink.task import TERMINAL

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, Event


@command(
    name="events",
    examples=("nodelink tasks events", "nodelink tasks events 0190a1b2", "nodelink tasks events --pool gpu -o ndjson"),
    exits=(Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE, Exit.INTERRUPTED),
)
@click.argument("task_id", required=False, default="", shell_complete=task_ids)
@click.option("--agent", default="", metavar="NAME|ID", shell_complete=agent_names, help="Only the runs of this agent.")
@click.option("--pool", default="", shell_complete=pools, help="Only this pool.")
@click.option("--type", default="", shell_complete=types, help="Only this type.")
@click.option("--after", type=click.IntRange(0), default=0, metavar="REVISION", help="Go on after this revision.")
@output_options(help="The form of the data; yaml and json: a document for each event.")
@server_option
def show_events(server: str, output: str, task_id: str, agent: str, pool: str, type: str, after: int) -> None:
    """Print events as they happen, until Ctrl-C. With TASK_ID: from its first event until it has ended."""

    async def show(client: AsyncClient) -> None:
        found = await task_id_of(client, task_id) if task_id else ""
        if found:
            await client.get(found)
        agent_id = await agent_id_of(client, agent) if agent else ""
        events = client.watch(task_id=found, agent_id=agent_id, pool=pool, type=type, after=after)
        async with aclosing(events):
            async for event in events:
                show_streamed(event_form(event), _line(event), output)
                if found and event.status in TERMINAL:
                    return

    talk(server, show)


def _line(event: Event) -> list[str]:
    status = of_status(event.status.value) if event.status else ""
    cells = [moment(event.time) or "", f"{event.name:<16}", event.task_id or event.agent_id]
    return [*map(one_line, cells), status, one_line(event.reason)]
