"""`nodelink checkpoints …`: snapshots of what waits and runs, with which another server can go on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodelink.checkpoint_file import verified
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.lacking import say_lacking
from nodelink.cli.manual import CommandGroup
from nodelink.cli.output import output_options, say, show_all, show_one
from nodelink.cli.pausing_forms import checkpoint_form, header_form
from nodelink.cli.table import field, key, time_field

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

FIND = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.UNREACHABLE)
COLUMNS = (
    key("id"),
    time_field("taken_at", "TAKEN", weight=60),
    field("why", weight=80),
    field("complete", weight=70),
    field("waiting", weight=75),
    field("running", weight=75),
    field("bytes", weight=50),
)


@click.group(cls=CommandGroup, examples=("nodelink checkpoints take", "nodelink checkpoints list"))
def checkpoints() -> None:
    """Keep snapshots of what waits and runs, with which another server can go on.

    One is taken when the scheduler, a pool or a type is paused, and every few minutes if anything has changed. A server
    begins with one by its option --load-checkpoint, or `nodelink scheduler resume --checkpoint`.
    """


@checkpoints.command(
    "list", examples=("nodelink checkpoints list -o json",), exits=(Exit.OK, Exit.USAGE, Exit.UNREACHABLE)
)
@output_options()
@server_option
def list_checkpoints(server: str, output: str) -> None:
    """List the checkpoints that the server keeps, the newest first."""

    async def look(client: AsyncClient) -> None:
        show_all([checkpoint_form(one) for one in await client.checkpoints()], COLUMNS, output)

    talk(server, look)


@checkpoints.command(
    "take", examples=("nodelink checkpoints take -o id",), exits=(Exit.OK, Exit.USAGE, Exit.UNREACHABLE)
)
@output_options()
@server_option
def take_checkpoint(server: str, output: str) -> None:
    """Take a checkpoint now. Of more than the server keeps, the oldest goes."""

    async def take(client: AsyncClient) -> None:
        show_one(checkpoint_form(await client.take_checkpoint()), output)

    talk(server, take)


@checkpoints.command(
    "get",
    examples=("nodelink checkpoints get 019c1393-7f80-7b2e-9c1d-2f6a0e4b8d13 --to queue.checkpoint",),
    exits=FIND,
)
@click.argument("checkpoint_id", metavar="ID")
@click.option("--to", "target", required=True, metavar="FILE", help="Where to write it; -: to standard output.")
@server_option
def get_checkpoint(server: str, checkpoint_id: str, target: str) -> None:
    """Write the file of a checkpoint here, and read it through."""

    async def get(client: AsyncClient) -> None:
        if target == "-":
            async for part in client.checkpoint_parts(checkpoint_id):
                sys.stdout.buffer.write(part)
            return
        await _write(client, checkpoint_id, Path(target))

    talk(server, get)


async def _write(client: AsyncClient, checkpoint_id: str, path: Path) -> None:
    """Write a file that is whole, or none. OSError: it cannot be written."""
    begun = path.with_name(f"{path.name}.part")
    try:
        begun.touch(0o600)
        with begun.open("w+b") as file:
            async for part in client.checkpoint_parts(checkpoint_id):
                file.write(part)
            header = verified(file)
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)
    say(f"{path}: {header.waiting} waiting and {header.running} running task(s)")
    say_lacking(header)


@checkpoints.command(
    "verify",
    examples=(
        "nodelink checkpoints verify 019c1393-7f80-7b2e-9c1d-2f6a0e4b8d13",
        "nodelink checkpoints verify ./queue.checkpoint  # a file here; no server is asked",
    ),
    exits=FIND,
)
@click.argument("checkpoint", metavar="ID|FILE")
@output_options()
@server_option
def verify_checkpoint(server: str, output: str, checkpoint: str) -> None:
    """Read a checkpoint through: one that the server keeps, or a file here (a name with a / or that exists).

    What is not whole is refused by the name of its defect: not a checkpoint, newer, truncated or damaged. Blobs that
    are not in it are named: somebody has to bring them.
    """
    path = Path(checkpoint)
    if "/" in checkpoint or path.is_file():
        with path.open("rb") as file:
            header = verified(file)
        show_one(header_form(header), output)
        say_lacking(header)
        return

    async def verify(client: AsyncClient) -> None:
        whole = await client.verify_checkpoint(checkpoint)
        show_one(checkpoint_form(whole), output)
        say_lacking(whole)

    talk(server, verify)
