"""Pauses and checkpoints as JSON shows them: the names and shapes of the HTTP interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelink.cli.table import Form
from nodelink.cli.times import moment

if TYPE_CHECKING:
    from nodelink.checkpoint import CheckpointHeader
    from nodelink.client import Checkpoint, Pause, Paused, Resumed


def pause_form(pause: Pause) -> Form:
    """A pause."""
    return {"scope": pause.scope, "since": moment(pause.since), "by": pause.by, "reason": pause.reason}


def paused_form(paused: Paused) -> Form:
    """A pause, and the checkpoint that was taken then."""
    taken = paused.checkpoint
    return {**pause_form(paused.pause), "checkpoint": None if taken is None else checkpoint_form(taken)}


def resumed_form(resumed: Resumed) -> Form:
    """What a resumption has changed."""
    return {"was_paused": resumed.was_paused, "loaded": resumed.loaded}


def checkpoint_form(checkpoint: Checkpoint) -> Form:
    """A checkpoint that a server keeps."""
    return {
        "id": checkpoint.id,
        "url": f"/api/v1/checkpoints/{checkpoint.id}/content",
        "taken_at": moment(checkpoint.taken_at),
        "why": checkpoint.why,
        "complete": checkpoint.complete,
        "waiting": checkpoint.waiting,
        "running": checkpoint.running,
        "bytes": checkpoint.bytes,
        "sha256": checkpoint.sha256,
        "version": checkpoint.version,
        "cluster_id": checkpoint.cluster_id,
        "ended_left_out": checkpoint.ended_left_out,
    }


def header_form(header: CheckpointHeader) -> Form:
    """A checkpoint that was read from a file here."""
    return {
        "id": header.id,
        "url": None,
        "taken_at": moment(header.taken_at),
        "why": header.why,
        "complete": header.complete,
        "waiting": header.waiting,
        "running": header.running,
        "bytes": header.size,
        "sha256": header.sha256,
        "version": header.version,
        "cluster_id": header.cluster_id,
        "ended_left_out": header.ended_left_out,
    }
