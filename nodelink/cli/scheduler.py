"""`nodelink scheduler …`: what waits for agents, and what they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.figures_forms import scheduler_form
from nodelink.cli.manual import CommandGroup
from nodelink.cli.output import output_options, show_one, text_of_one
from nodelink.cli.table import Form
from nodelink.cli.watch import Watch, watch_option

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

TIMES = ("last_checkpoint_at",)


@click.group(cls=CommandGroup, examples=("nodelink scheduler status --watch",))
def scheduler() -> None:
    """Look at the queue as a whole."""


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
