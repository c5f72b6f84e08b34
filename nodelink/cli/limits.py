"""`nodelink limits …`: how many tasks may be with agents at a time, and who has a place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import CommandGroup
from nodelink.cli.output import output_options, say, show_all, show_one
from nodelink.cli.places_forms import limit_form
from nodelink.cli.table import Column, Form, field, key

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

NAMES = "running, pool:NAME, type:NAME, agent:ID, workspace:NAME or key:NAME"
MOST_COUNTED = 100
"""So many are counted of those who wait and are not shown."""
SET = (Exit.OK, Exit.USAGE, Exit.UNREACHABLE)


def _most_cell(form: Form, _now: int) -> str:
    return "not set" if form["most"] is None else str(form["most"])


def _waiting_cell(form: Form, _now: int) -> str:
    count = len(form["waiting"]) + form["waiting_more"]
    return f"{count} or more" if form["waiting_more"] >= MOST_COUNTED else str(count)


def _first_cell(form: Form, _now: int) -> str:
    return form["holders"][0]["task_id"] if form["holders"] else ""


COLUMNS = (
    key("name", "LIMIT"),
    Column(title="MOST", cell=_most_cell, weight=90, may_shorten=False),
    field("taken", weight=95),
    Column(title="WAITING", cell=_waiting_cell, weight=85, may_shorten=False),
    Column(title="FIRST HOLDER", cell=_first_cell, weight=40),
)


@click.group(cls=CommandGroup, examples=("nodelink limits set pool:gpu 4", "nodelink limits list"))
def limits() -> None:
    """Say how many tasks may be with agents at a time.

    A limit is named running (all tasks), pool:NAME, type:NAME, agent:ID, workspace:NAME, or key:NAME for what tasks
    name as a lock or a limit.
    """


@limits.command(
    "list",
    examples=("nodelink limits list", "nodelink limits list --name key:database -o json"),
    exits=SET,
)
@click.option("--name", metavar="NAME", help=f"Only this one, whatever is known of it: {NAMES}.")
@output_options()
@server_option
def list_limits(server: str, output: str, name: str | None) -> None:
    """List the limits that are set, and the keys of which a place is taken."""

    async def look(client: AsyncClient) -> None:
        if name is not None:
            show_all([limit_form(await client.limit(name))], COLUMNS, output)
            return
        found = await client.limits()
        show_all([limit_form(limit) for limit in found.limits], COLUMNS, output)
        if found.total > len(found.limits):
            say(f"these are {len(found.limits):,} of {found.total:,}; name one to see it")

    talk(server, look)


@limits.command(
    "set",
    examples=("nodelink limits set pool:gpu 4", "nodelink limits set type:deploy 0  # nothing more starts"),
    exits=SET,
)
@click.argument("name")
@click.argument("most", type=click.IntRange(0), metavar="N")
@output_options()
@server_option
def set_limit(server: str, output: str, name: str, most: int) -> None:
    """Let at most N tasks be with agents at a time; 0: nothing more starts. What runs already goes on."""

    async def set_it(client: AsyncClient) -> None:
        show_one(limit_form(await client.set_limit(name, most)), output)

    talk(server, set_it)


@limits.command("remove", examples=("nodelink limits remove pool:gpu",), exits=SET)
@click.argument("name")
@output_options()
@server_option
def remove_limit(server: str, output: str, name: str) -> None:
    """Let there be no such limit any more. Shows how it stands then."""

    async def remove(client: AsyncClient) -> None:
        show_one(limit_form(await client.remove_limit(name)), output)

    talk(server, remove)
