"""The options that `tasks list` and `tasks bulk` share: which tasks are meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from nodelink.cli.candidates import agent_names, pools, types, workspaces_by_name
from nodelink.cli.choice import Choice
from nodelink.cli.late import sdk
from nodelink.cli.naming import agent_id_of
from nodelink.cli.task_options import read_pairs
from nodelink.cli.times import ms_of_moment, read_past
from nodelink.task import TaskStatus

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, TaskFilter

_Function = TypeVar("_Function", bound=Callable[..., Any])


class FilterOptions(TypedDict):
    """The options as click hands them over."""

    status: Sequence[str]
    type: str
    pool: str
    workspace: str
    agent: str
    label: Mapping[str, str]
    created_after: datetime | None
    created_before: datetime | None
    q: str


def filter_options(function: _Function) -> _Function:
    """Give a command the parameters of `FilterOptions`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


async def filter_of(client: AsyncClient, options: FilterOptions) -> TaskFilter:
    """The filter that was described on the command line. Raises `AgentNotFound` or `Ambiguous`."""
    after, before = options["created_after"], options["created_before"]
    return sdk.TaskFilter(
        statuses=frozenset(options["status"]),
        type=options["type"],
        pool=options["pool"],
        workspace=options["workspace"],
        agent_id=await agent_id_of(client, options["agent"]) if options["agent"] else "",
        created_after=ms_of_moment(after) if after else None,
        created_before=ms_of_moment(before) if before else None,
        labels=options["label"],
        q=options["q"],
    )


def _past(_context: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    try:
        return None if given is None else read_past(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_OPTIONS = (
    click.option("--status", multiple=True, type=Choice(list(TaskStatus)), help="Only these. May be repeated."),
    click.option("--type", default="", shell_complete=types, help="Only this type."),
    click.option("--pool", default="", shell_complete=pools, help="Only this pool."),
    click.option("--workspace", default="", shell_complete=workspaces_by_name, help="Only this workspace."),
    click.option(
        "--agent",
        default="",
        metavar="NAME|ID",
        shell_complete=agent_names,
        help="Only those that this agent has or had.",
    ),
    click.option(
        "--label",
        multiple=True,
        metavar="KEY=VALUE",
        callback=read_pairs,
        help="Only with this in their metadata. May be repeated: all of it.",
    ),
    click.option(
        "--created-after", metavar="AGO|TIME", callback=_past, help="Not older: 1h30m, or 2030-01-31T09:30:00Z."
    ),
    click.option("--created-before", metavar="AGO|TIME", callback=_past, help="Older: 1h30m, or 2030-01-31T09:30:00Z."),
    click.option(
        "-q", "--q", default="", metavar="TEXT", help="How the id begins, a type, or KEY=VALUE of the metadata."
    ),
)
