"""`nodelink artifacts …`: bytes by their digest, up and down, and as parts of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodelink.cli.blob_forms import ARTIFACT_COLUMNS, BLOB_COLUMNS, artifact_form, blob_form
from nodelink.cli.candidates import task_ids, workspaces_by_name
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import CommandGroup
from nodelink.cli.naming import task_id_of
from nodelink.cli.output import output_options, say, show_all, show_one
from nodelink.cli.transfer import download_to, shown_progress
from nodelink.errors import BlobNotFound

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

FIND = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.UNREACHABLE)
KEEP = (Exit.OK, Exit.USAGE, Exit.DENIED, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SOME_DIGEST = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
NEW_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.group(
    cls=CommandGroup,
    examples=(
        "nodelink artifacts upload site.tar",
        "nodelink artifacts list --task 019a7b1c",
        "nodelink artifacts download --task 019a7b1c plan.out plan.out",
    ),
)
def artifacts() -> None:
    """Keep bytes on the server: for tasks to work on, and what they leave.

    Bytes are named by their SHA-256. A transfer that breaks off goes on where it was when it is begun again.
    """


@artifacts.command(
    "upload",
    examples=("nodelink artifacts upload site.tar", "nodelink artifacts upload site.tar --task 019a7b1c --name in.tar"),
    exits=KEEP,
)
@click.argument("file", type=FILE)
@click.option(
    "--workspace", default="", shell_complete=workspaces_by_name, help="Whose it is, and against whose quota it counts."
)
@click.option("--task", "task", metavar="ID", shell_complete=task_ids, help="Give it to this task.")
@click.option("--name", metavar="NAME", help="Under this name. Else that of the file.")
@output_options()
@server_option
def upload_artifact(server: str, output: str, file: Path, workspace: str, task: str | None, name: str | None) -> None:
    """Have the server have a file. What it has already is not sent."""
    if name is not None and task is None:
        raise click.UsageError("--name is for the artifact of a task: give --task")

    async def upload(client: AsyncClient) -> None:
        with shown_progress() as moved:
            blob = await client.artifacts.upload(file, workspace=workspace, moved=moved)
        if task is None:
            show_one({"sha256": blob.sha256, "size": blob.size}, output)
            return
        task_id = await task_id_of(client, task)
        show_one(artifact_form(await client.artifacts.attach(task_id, name or file.name, blob.sha256)), output)

    talk(server, upload)


@artifacts.command(
    "download",
    examples=(
        f"nodelink artifacts download {SOME_DIGEST} site.tar",
        "nodelink artifacts download --task 019a7b1c plan.out -",
    ),
    exits=FIND,
)
@click.argument("which", metavar="SHA256|NAME")
@click.argument("file", type=NEW_FILE)
@click.option("--task", "task", metavar="ID", shell_complete=task_ids, help="The artifact of this task with that NAME.")
@click.option("--attempt", type=click.IntRange(0), metavar="N", help="Of this attempt; 0: what a caller gave it.")
@server_option
def download_artifact(server: str, which: str, file: Path, task: str | None, attempt: int | None) -> None:
    """Have bytes in a file, checked, or (`-`) on standard output."""
    if attempt is not None and task is None:
        raise click.UsageError("--attempt is for the artifact of a task: give --task")

    async def download(client: AsyncClient) -> None:
        sha256 = which if task is None else await _digest_of(client, task, which, attempt)
        await download_to(client, sha256, file)

    talk(server, download)


@artifacts.command(
    "list",
    examples=("nodelink artifacts list --workspace site", "nodelink artifacts list --task 019a7b1c -o json"),
    exits=FIND,
)
@click.option("--workspace", shell_complete=workspaces_by_name, help="Only what this one has; empty: what none has.")
@click.option("--task", "task", metavar="ID", shell_complete=task_ids, help="The artifacts of this task.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@output_options()
@server_option
def list_artifacts(server: str, output: str, workspace: str | None, task: str | None, limit: int) -> None:
    """List what workspaces have, by digest, or the artifacts of a task."""
    if workspace is not None and task is not None:
        raise click.UsageError("--workspace and --task exclude each other")

    async def look(client: AsyncClient) -> None:
        if task is not None:
            found = await client.artifacts.of_task(await task_id_of(client, task))
            show_all([artifact_form(one) for one in found], ARTIFACT_COLUMNS, output)
            return
        listed = [blob_form(one) async for one in client.artifacts.list(workspace, limit=limit)]
        show_all(listed, BLOB_COLUMNS, output)
        if workspace is not None:
            usage = await client.artifacts.usage(workspace)
            say(f"{usage.used:,} bytes of the {usage.quota:,} that are allowed")

    talk(server, look)


@artifacts.command(
    "attach",
    examples=(
        "nodelink artifacts attach 019a7b1c in.tar 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    ),
    exits=KEEP,
)
@click.argument("task", shell_complete=task_ids)
@click.argument("name")
@click.argument("sha256")
@output_options()
@server_option
def attach_artifact(server: str, output: str, task: str, name: str, sha256: str) -> None:
    """Give bytes that the server has to a task, under a name that stands for them from then on."""

    async def attach(client: AsyncClient) -> None:
        task_id = await task_id_of(client, task)
        show_one(artifact_form(await client.artifacts.attach(task_id, name, sha256)), output)

    talk(server, attach)


async def _digest_of(client: AsyncClient, task: str, name: str, attempt: int | None) -> str:
    """The digest of an artifact of a task: of the last attempt that has one, unless another is named."""
    found = await client.artifacts.of_task(await task_id_of(client, task))
    fitting = [one.sha256 for one in found if one.name == name and attempt in {None, one.attempt}]
    if not fitting:
        raise BlobNotFound(f"the task has no artifact {name!r}")
    return fitting[-1]
