"""`nodelink agents …`: look at the agents."""

from __future__ import annotations

import click

from nodelink.cli.connect import server_option
from nodelink.cli.forms import Form, agent_form
from nodelink.cli.output import Column, field, output_option, show_all, show_one
from nodelink.client import Client
from nodelink.client.reading import AGENT_STATUSES


def _slots_cell(form: Form) -> str:
    return f"{form['free_slots']}/{form['slots']}"


COLUMNS = (
    field("id"),
    field("name"),
    field("pool"),
    field("status"),
    Column("FREE", _slots_cell),
    field("last_heartbeat_at", "LAST HEARD OF"),
    field("software_version", "VERSION"),
)


@click.group()
def agents() -> None:
    """Look at the agents."""


@agents.command("list")
@click.option("--status", type=click.Choice(list(AGENT_STATUSES)), default=None, help="Only agents that stand so.")
@click.option("--pool", default="", help="Only this pool.")
@output_option()
@server_option
def list_agents(server: str, output: str, status: str | None, pool: str) -> None:
    """List the agents that the server knows, by name."""
    with Client(server) as client:
        known = client.agents(status=status or "", pool=pool)
    show_all([agent_form(agent) for agent in known], COLUMNS, output)


@agents.command("get")
@click.argument("agent_id")
@output_option()
@server_option
def get_agent(server: str, output: str, agent_id: str) -> None:
    """Show an agent as it stands."""
    with Client(server) as client:
        show_one(agent_form(client.agent(agent_id)), output)
