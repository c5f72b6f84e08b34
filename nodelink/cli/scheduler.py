"""`nodelink scheduler …`: what waits for agents and what they run, and whether anything new starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nodelink.cli.candidates import pools
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.figures_forms import scheduler_form
from nodelink.cli.lacking import say_lacking
from nodelink.cli.manual import CommandGroup
from nodelink.cli.output import output_options, show_one, text_of_one
from nodelink.cli.pausing_forms import paused_form, resumed_form
from nodelink.cli.table import Form
from nodelink.cli.task_options import not_empty
from nodelink.cli.watch import Watch, watch_option

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

TIMES = ("last_checkpoint_at",)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _scope_options(function: _Function) -> _Function:
    """Give a command the parameters `pool`, `type` and `reason`."""
    function = click.option("--reason", default="", metavar="TEXT", help="Why, in words; it is shown and audited.")(
        function
    )
    function = click.option("--type", metavar="TYPE", callback=not_empty, help="Only tasks of this type.")(function)
    return click.option(
        "--pool", metavar="POOL", callback=not_empty, help="Only tasks of this pool.", shell_complete=pools
    )(function)


@click.group(cls=CommandGroup, examples=("nodelink scheduler status --watch", "nodelink scheduler pause --pool gpu"))
def scheduler() -> None:
    """Look at the queue as a whole, and pause it, or a pool or a type."""


@scheduler.command(
    "status",
    examples=("nodelink scheduler status", "nodelink scheduler status -o json", "nodelink scheduler status --watch"),
    exits=(Exit.OK, Exit.UNREACHABLE),
)
@watch_option
@output_options()
@server_option
def show_status(server: str, output: str, watch: bool) -> None:
    """Show how many tasks wait and run, and how many slots are free. `id` prints the state alone."""

    async def look(client: AsyncClient) -> None:
        async def seen() -> Sequence[Form]:
            return [scheduler_form(await client.scheduler_status())]

        def text(forms: Sequence[Form]) -> str:
            return text_of_one(forms[0], output, times=TIMES)

        if watch:
            await Watch(seen, text, output=output).run(client)
        else:
            show_one((await seen())[0], output, times=TIMES)

    talk(server, look)


@scheduler.command(
    "pause",
    examples=(
        "nodelink scheduler pause --reason 'an upgrade'",
        "nodelink scheduler pause --pool gpu",
        "nodelink scheduler pause --type shell",
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.UNREACHABLE),
)
@_scope_options
@output_options()
@server_option
def pause(server: str, output: str, pool: str | None, type: str | None, reason: str) -> None:
    """Let nothing new start: at all, in a pool, or of a type. What runs goes on, retries wait.

    It lasts until it is resumed, over restarts too. A checkpoint is taken, and its id shown.
    """

    async def pause_it(client: AsyncClient) -> None:
        paused = await client.pause(pool=pool or "", type=type or "", reason=reason)
        show_one(paused_form(paused), output, times=("since",))

    talk(server, pause_it)


@scheduler.command(
    "resume",
    examples=(
        "nodelink scheduler resume",
        "nodelink scheduler resume --type shell",
        "nodelink scheduler resume --checkpoint ./queue.checkpoint  # in a server that has never had a task",
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE),
)
@_scope_options
@click.option(
    "--checkpoint",
    metavar="ID|FILE",
    callback=not_empty,
    help="Go on from a checkpoint: one that the server keeps, or a small file here (a name with a / or that exists).",
)
@click.option(
    "--as-waiting",
    is_flag=True,
    help="What ran when it was taken waits again, whatever its class: only right if nothing of it runs any more.",
)
@output_options()
@server_option
def resume(
    server: str,
    output: str,
    pool: str | None,
    type: str | None,
    reason: str,
    checkpoint: str | None,
    as_waiting: bool,
) -> None:
    """End a pause; before that, a server that has never had a task may go on from a checkpoint."""
    given = _checkpoint_of(checkpoint)

    async def resume_it(client: AsyncClient) -> None:
        resumed = await client.resume(
            pool=pool or "", type=type or "", reason=reason, checkpoint=given, as_waiting=as_waiting
        )
        show_one(resumed_form(resumed), output)
        if resumed.checkpoint is not None:
            say_lacking(resumed.checkpoint)

    talk(server, resume_it)


def _checkpoint_of(given: str | None) -> str | bytes | None:
    """An id, or the bytes of a file here. OSError: it cannot be read."""
    if given is None:
        return None
    return Path(given).read_bytes() if "/" in given or Path(given).is_file() else given
