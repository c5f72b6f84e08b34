"""`nodelink workspaces …`: where the tasks of each run, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import pools, workspaces_by_name
from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import CommandGroup
from nodelink.cli.output import output_options, show_all, show_one
from nodelink.cli.places_forms import workspace_form
from nodelink.cli.table import field, key, time_field
from nodelink.cli.workspace_state import state
from nodelink.task import DEFAULT_POOL, Execution

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

MODES = ("agent", "local", "kubernetes")
MODE_HELP = "agent: any agent of the pool; local: those with the label mode=local, on the server's machine."
BY_TYPE = "by-type"
CLASSES = (BY_TYPE, *(execution.value for execution in Execution))
CLASS_HELP = "The execution class of those of its tasks that name none; by-type: that of their type."
FIND = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.UNREACHABLE)
COLUMNS = (
    key("name"),
    field("pool", weight=80),
    field("mode", weight=90),
    field("execution", weight=40),
    time_field("created_at", "CREATED", weight=50),
)


@click.group(cls=CommandGroup, examples=("nodelink workspaces create site --pool web",))
def workspaces() -> None:
    """Say where tasks run that belong together.

    A task that names a workspace runs in the workspace's pool, and one of its tasks at a time is with an agent.
    """


workspaces.add_command(state)


@workspaces.command("list", examples=("nodelink workspaces list -o json",), exits=(Exit.OK, Exit.UNREACHABLE))
@output_options()
@server_option
def list_workspaces(server: str, output: str) -> None:
    """List every workspace, by name."""

    async def look(client: AsyncClient) -> None:
        show_all([workspace_form(one) for one in await client.workspaces()], COLUMNS, output)

    talk(server, look)


@workspaces.command("get", examples=("nodelink workspaces get site",), exits=FIND)
@click.argument("name", shell_complete=workspaces_by_name)
@output_options()
@server_option
def get_workspace(server: str, output: str, name: str) -> None:
    """Show a workspace."""

    async def look(client: AsyncClient) -> None:
        show_one(workspace_form(await client.workspace(name)), output)

    talk(server, look)


@workspaces.command(
    "create",
    examples=("nodelink workspaces create site --pool web", "nodelink workspaces create lab --mode local"),
    exits=(Exit.OK, Exit.USAGE, Exit.CONFLICT, Exit.UNREACHABLE),
)
@click.argument("name")
@click.option(
    "--pool", default=DEFAULT_POOL, show_default=True, shell_complete=pools, help="The pool in which its tasks run."
)
@click.option("--mode", type=Choice(MODES), default="agent", show_default=True, help=MODE_HELP)
@click.option("--execution", type=Choice(CLASSES), default=BY_TYPE, show_default=True, help=CLASS_HELP)
@output_options()
@server_option
def create_workspace(server: str, output: str, name: str, pool: str, mode: str, execution: str) -> None:
    """Make a workspace."""

    async def create(client: AsyncClient) -> None:
        made = await client.create_workspace(name, pool=pool, mode=mode, execution=_class_of(execution))
        show_one(workspace_form(made), output)

    talk(server, create)


@workspaces.command("update", examples=("nodelink workspaces update site --pool web-2",), exits=FIND)
@click.argument("name", shell_complete=workspaces_by_name)
@click.option("--pool", shell_complete=pools, help="The pool in which its tasks run. Else it stays.")
@click.option("--mode", type=Choice(MODES), help=f"{MODE_HELP} Else it stays.")
@click.option("--execution", type=Choice(CLASSES), help=f"{CLASS_HELP} Else it stays.")
@output_options()
@server_option
def update_workspace(
    server: str, output: str, name: str, pool: str | None, mode: str | None, execution: str | None
) -> None:
    """Let the tasks of a workspace run elsewhere or as another class, those that come in from now on."""
    if pool is None and mode is None and execution is None:
        raise click.UsageError("nothing to change: give --pool, --mode or --execution")

    async def update(client: AsyncClient) -> None:
        before = await client.workspace(name)
        after = await client.update_workspace(
            name,
            pool=before.pool if pool is None else pool,
            mode=before.mode if mode is None else mode,
            execution=before.execution if execution is None else _class_of(execution),
        )
        show_one(workspace_form(after), output)

    talk(server, update)


@workspaces.command("delete", examples=("nodelink workspaces delete site",), exits=(*FIND, Exit.CONFLICT))
@click.argument("name", shell_complete=workspaces_by_name)
@output_options()
@server_option
def delete_workspace(server: str, output: str, name: str) -> None:
    """Remove a workspace of which no task lives. Shows what it was."""

    async def delete(client: AsyncClient) -> None:
        show_one(workspace_form(await client.delete_workspace(name)), output)

    talk(server, delete)


def _class_of(execution: str) -> Execution | None:
    return None if execution == BY_TYPE else Execution(execution)
