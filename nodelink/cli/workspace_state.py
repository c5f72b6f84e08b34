"""`nodelink workspaces state …`: the state of a workspace, which is replaced only by who knows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodelink.cli.blob_forms import STATE_COLUMNS, state_form
from nodelink.cli.candidates import workspaces_by_name
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import CommandGroup
from nodelink.cli.output import output_options, show_all, show_one
from nodelink.cli.transfer import download_to, shown_progress

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

FIND = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.UNREACHABLE)


@click.group(
    "state",
    cls=CommandGroup,
    examples=(
        "nodelink workspaces state put site state.json --first",
        "nodelink workspaces state get site state.json",
        "nodelink workspaces state put site state.json --if-match 1-2cf24dba5fb0a30e",
    ),
)
def state() -> None:
    """Keep the state of a workspace.

    Each state is saved by who names the one that it replaces by its ETag, so that none is lost unseen. While a task
    works in the workspace, only that task saves it.
    """


@state.command(
    "get",
    examples=("nodelink workspaces state get site state.json", "nodelink workspaces state get site -"),
    exits=FIND,
)
@click.argument("name", shell_complete=workspaces_by_name)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), required=False)
@click.option("--version", "version", type=click.IntRange(1), metavar="N", help="An earlier one that is kept.")
@output_options()
@server_option
def get_state(server: str, output: str, name: str, file: Path | None, version: int | None) -> None:
    """Have the state of a workspace in a file, or (`-`) on standard output. Without a file: tell which it is."""

    async def look(client: AsyncClient) -> None:
        found = await client.states.get(name, version=version or 0)
        if file is not None:
            await download_to(client, found.sha256, file)
        if file is None or str(file) != "-":
            show_one(state_form(found), output)

    talk(server, look)


@state.command(
    "put",
    examples=(
        "nodelink workspaces state put site state.json --first",
        "nodelink workspaces state put site state.json --if-match 1-2cf24dba5fb0a30e",
    ),
    exits=(*FIND, Exit.DENIED, Exit.CONFLICT),
)
@click.argument("name", shell_complete=workspaces_by_name)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--if-match", metavar="ETAG", help="The ETag of the state that is replaced.")
@click.option("--first", is_flag=True, help="Only if there is none yet.")
@output_options()
@server_option
def put_state(server: str, output: str, name: str, file: Path, if_match: str | None, first: bool) -> None:
    """Save a file as the state of a workspace."""
    if first == (if_match is not None):
        raise click.UsageError("say which state is replaced: --if-match ETAG, or --first if there is none yet")

    async def put(client: AsyncClient) -> None:
        with shown_progress() as moved:
            saved = await client.states.save(name, file, if_match=if_match or "", moved=moved)
        show_one(state_form(saved), output)

    talk(server, put)


@state.command("list", examples=("nodelink workspaces state list site",), exits=FIND)
@click.argument("name", shell_complete=workspaces_by_name)
@output_options()
@server_option
def list_states(server: str, output: str, name: str) -> None:
    """List the states of a workspace that are kept, the newest first."""

    async def look(client: AsyncClient) -> None:
        show_all([state_form(one) for one in await client.states.list(name)], STATE_COLUMNS, output)

    talk(server, look)
