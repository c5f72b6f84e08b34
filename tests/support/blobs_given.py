"""Blobs in a server's core, as callers give them: uploaded, attached to tasks, saved as states, and read again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nodelink.checkpoint_file import lines
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES, UploadName, WorkspaceState
from tests.support.core_parts import Core


def digest_of(data: bytes) -> str:
    """The name of bytes."""
    return hashlib.sha256(data).hexdigest()


async def upload(core: Core, data: bytes, workspace: str = "") -> str:
    """Have the server have bytes. Returns their digest."""
    name = UploadName(digest_of(data), len(data), workspace)
    done = await core.manager.blobs.announce(name)
    while not done.is_complete:
        piece = data[done.offset : done.offset + MAX_CHUNK_BYTES]
        done = await core.manager.blobs.append(name, done.offset, piece)
    return name.sha256


async def give(core: Core, task_id: str, name: str, data: bytes) -> str:
    """Let bytes be an artifact of a task. Returns their digest."""
    workspace = (await core.manager.get(task_id)).task.spec.workspace
    await core.manager.artifacts.attach(task_id, name, await upload(core, data, workspace))
    return digest_of(data)


async def save_state(core: Core, workspace: str, data: bytes) -> WorkspaceState:
    """Let bytes be the next state of a workspace."""
    states = core.manager.workspace_states
    before = await states.list(workspace)
    sha256 = await upload(core, data, workspace)
    return await states.save(workspace, sha256, if_match=before[0].etag if before else "")


async def bytes_of(core: Core, sha256: str) -> bytes:
    """All bytes of a blob. Raises `BlobNotFound`."""
    reading = await core.manager.blobs.open(sha256)
    try:
        parts = [await reading.read(offset, MAX_CHUNK_BYTES) for offset in range(0, reading.size, MAX_CHUNK_BYTES)]
        return b"".join(parts)
    finally:
        reading.close()


def blobs_on_disk(directory: Path) -> list[str]:
    """The names of all files of blobs under the directory of a database."""
    return [path.name for path in (directory / "blobs").rglob("*") if path.is_file()]


def pieces_in(checkpoint: Path) -> list[tuple[str, str]]:
    """The digest and the text of each line with bytes."""
    with checkpoint.open("rb") as file:
        return [(line["blob"], line["data"]) for line in lines(file) if "blob" in line]
