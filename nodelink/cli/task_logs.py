"""`nodelink tasks logs`: what a task printed."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import task_ids
from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import command
from nodelink.cli.naming import task_id_of
from nodelink.cli.screen import Screen
from nodelink.task import LogStream

if TYPE_CHECKING:
    from nodelink.client import AsyncClient


@command(
    name="logs",
    examples=(
        "nodelink tasks logs 0190a1b2",
        "nodelink tasks logs 0190a1b2 --tail 4096 -f",
        "nodelink tasks logs 0190a1b2 --stream stderr > errors.txt",
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE),
)
@click.argument("task_id", shell_complete=task_ids)
@click.option("-f", "--follow", is_flag=True, help="Go on until the output is complete.")
@click.option("--stream", type=Choice(list(LogStream)), help="Only this one.")
@click.option(
    "--attempt", type=click.IntRange(0), metavar="N", default=0, help="Of this attempt; else of the current one."
)
@click.option("--tail", type=click.IntRange(0), default=0, metavar="BYTES", help="Only the last so many bytes.")
@click.option("--offset", type=click.IntRange(0), default=0, metavar="BYTES", help="From this byte on.")
@click.option(
    "--limit", type=click.IntRange(0), default=0, metavar="BYTES", help="At most so many bytes; not with --follow."
)
@click.option("--raw", is_flag=True, help="Let the output steer the terminal.")
@server_option
def show_logs(
    server: str,
    task_id: str,
    follow: bool,
    stream: str | None,
    attempt: int,
    tail: int,
    offset: int,
    limit: int,
    raw: bool,
) -> None:
    """Print what a task printed: each of its streams to the same one of ours, byte for byte."""
    if follow and limit:
        raise click.UsageError("--limit cannot be given together with --follow")
    if tail and offset:
        raise click.UsageError("--tail cannot be given together with --offset")

    async def show(client: AsyncClient) -> None:
        found, screen = await task_id_of(client, task_id), Screen(raw=raw)
        if follow:
            parts = client.stream_logs(found, stream=stream, attempt=attempt, offset=offset, tail=tail)
        else:
            parts = client.logs(found, stream=stream, attempt=attempt, offset=offset, limit=limit, tail=tail)
        async with aclosing(parts):
            async for part in parts:
                screen.show([part])

    talk(server, show)
