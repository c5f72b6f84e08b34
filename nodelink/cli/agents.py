"""`nodelink agents …`: look at the agents, and say which of them get work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from nodelink.cli.agent_card import resources_cell, show_agent, slots_cell, text_of_agent
from nodelink.cli.agent_drain import drain_agent, undrain_agent
from nodelink.cli.candidates import agent_names, pools
from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import agent_form, session_form, task_form
from nodelink.cli.late import sdk
from nodelink.cli.manual import CommandGroup
from nodelink.cli.naming import agent_id_of
from nodelink.cli.output import output_options, show_all, text_of_all
from nodelink.cli.table import Column, Form, field, key, time_field
from nodelink.cli.task_options import read_pairs
from nodelink.cli.tasks import COLUMNS as TASK_COLUMNS
from nodelink.cli.tasks import MOST_LISTED
from nodelink.cli.watch import Watch, watch_option
from nodelink.cli.why import explain_agent
from nodelink.task import TaskStatus

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

STATUSES = ("online", "unreachable", "draining", "cordoned", "offline")
FIND = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE)
COLUMNS = (
    key("name"),
    field("id", weight=30),
    field("pool", weight=60),
    Column(title="STATUS", cell=lambda form, _now: form["status"], weight=90, may_shorten=False, is_status=True),
    Column(title="SLOTS", cell=slots_cell, weight=80, may_shorten=False),
    Column(title="RESOURCES", cell=resources_cell, weight=20),
    time_field("last_heartbeat_at", "HEARD OF", weight=50),
    field("software_version", "VERSION", weight=10),
)
SESSION_COLUMNS = (
    key("number", "SESSION"),
    time_field("connected_at", "CONNECTED", weight=90),
    time_field("disconnected_at", "DISCONNECTED", weight=80),
    field("reason", weight=70),
    field("software_version", "VERSION", weight=10),
)


@click.group(cls=CommandGroup, examples=("nodelink agents list --status online", "nodelink agents tasks build-7"))
def agents() -> None:
    """Look at the agents, and say which of them get work.

    An agent is named by its name, or by its id where several have that name.
    """


@agents.command(
    "list",
    examples=(
        "nodelink agents list",
        "nodelink agents list --pool gpu --label zone=b -o json",
        "nodelink agents list -w",
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.UNREACHABLE),
)
@click.option("--status", type=Choice(STATUSES), default=None, help="Only agents that stand so.")
@click.option("--pool", default="", shell_complete=pools, help="Only this pool.")
@click.option(
    "--label", multiple=True, metavar="KEY=VALUE", callback=read_pairs, help="Only with this label. May be repeated."
)
@watch_option
@output_options()
@server_option
def list_agents(server: str, output: str, status: str | None, pool: str, label: Mapping[str, str], watch: bool) -> None:
    """List the agents that the server knows, by name."""

    async def look(client: AsyncClient) -> None:
        async def listed() -> Sequence[Form]:
            return [agent_form(agent) for agent in await client.agents(status=status or "", pool=pool, labels=label)]

        if watch:
            await Watch(listed, lambda forms: text_of_all(forms, COLUMNS, output), output=output).run(client)
        else:
            show_all(await listed(), COLUMNS, output)

    talk(server, look)


@agents.command("get", examples=("nodelink agents get build-7", "nodelink agents get build-7 --watch"), exits=FIND)
@click.argument("agent", shell_complete=agent_names)
@watch_option
@output_options()
@server_option
def get_agent(server: str, output: str, agent: str, watch: bool) -> None:
    """Show an agent as it stands."""

    async def look(client: AsyncClient) -> None:
        agent_id = await agent_id_of(client, agent)

        async def seen() -> Sequence[Form]:
            return [agent_form(await client.agent(agent_id))]

        def text(forms: Sequence[Form]) -> str:
            return text_of_agent(forms[0], output)

        if watch:
            await Watch(seen, text, output=output).run(client)
        else:
            show_agent((await seen())[0], output)

    talk(server, look)


@agents.command("tasks", examples=("nodelink agents tasks build-7 --status running",), exits=FIND)
@click.argument("agent", shell_complete=agent_names)
@click.option("--status", multiple=True, type=Choice(list(TaskStatus)), help="Only these. May be repeated.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), metavar="N", default=50, show_default=True, help="At most so many."
)
@output_options()
@server_option
def list_tasks_of_agent(server: str, output: str, agent: str, status: Sequence[str], limit: int) -> None:
    """List the tasks whose latest attempt is an agent's, newest first."""

    async def look(client: AsyncClient) -> None:
        wanted = sdk.TaskFilter(agent_id=await agent_id_of(client, agent), statuses=frozenset(status))
        show_all([task_form(task) for task in await client.list(wanted, limit=limit)], TASK_COLUMNS, output)

    talk(server, look)


@agents.command("sessions", examples=("nodelink agents sessions build-7 --limit 5",), exits=FIND)
@click.argument("agent", shell_complete=agent_names)
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), metavar="N", default=50, show_default=True, help="At most so many."
)
@output_options()
@server_option
def list_sessions(server: str, output: str, agent: str, limit: int) -> None:
    """List an agent's connections to the server, newest first, and why each ended."""

    async def look(client: AsyncClient) -> None:
        forms: list[Form] = []
        async with aclosing(client.agent_sessions(await agent_id_of(client, agent))) as sessions:
            async for session in sessions:
                forms.append(session_form(session))
                if len(forms) == limit:
                    break
        show_all(forms, SESSION_COLUMNS, output)

    talk(server, look)


for _command in (explain_agent, drain_agent, undrain_agent):
    agents.add_command(_command)
