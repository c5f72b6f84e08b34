"""What a `MemoryBlobs` keeps: the bytes of blobs, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodelink_server.core.blob_ports import Artifact, Blob, UploadName, WorkspaceState

ROOM_BYTES = 1 << 40


@dataclass(slots=True)
class Shelf:
    """What is durable of blobs."""

    room: int = ROOM_BYTES
    uploads: dict[UploadName, bytearray] = field(default_factory=dict)
    bytes: dict[str, bytes] = field(default_factory=dict)
    rows: dict[tuple[str, str], Blob] = field(default_factory=dict)
    artifacts: dict[tuple[int, str, int], tuple[str, Artifact]] = field(default_factory=dict)
    told: dict[tuple[int, str, int], int] = field(default_factory=dict)
    """The revision of each artifact's event."""
    states: dict[str, list[WorkspaceState]] = field(default_factory=dict)
