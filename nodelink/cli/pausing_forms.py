"""Pauses and checkpoints as JSON shows them: the names and shapes of the HTTP interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelink.cli.table import Form
from nodelink.cli.times import moment

if TYPE_CHECKING:
    from nodelink.checkpoint import CheckpointHeader, LeftOut
    from nodelink.client import Checkpoint, LeftOutBlob, Pause, Paused, Resumed


def pause_form(pause: Pause) -> Form:
    """A pause."""
    return {"scope": pause.scope, "since": moment(pause.since), "by": pause.by, "reason": pause.reason}


def paused_form(paused: Paused) -> Form:
    """A pause, and the checkpoint that was taken then."""
    taken = paused.checkpoint
    return {**pause_form(paused.pause), "checkpoint": None if taken is None else checkpoint_form(taken)}


def resumed_form(resumed: Resumed) -> Form:
    """What a resumption has changed."""
    given = resumed.checkpoint
    form: Form = {"was_paused": resumed.was_paused, "loaded": resumed.loaded}
    return {**form, "checkpoint": None if given is None else checkpoint_form(given)}


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
        **_blobs_form(checkpoint),
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
        **_blobs_form(header),
    }


def _blobs_form(told: Checkpoint | CheckpointHeader) -> Form:
    return {
        "blobs": told.blobs,
        "blob_bytes": told.blob_bytes,
        "blobs_left_out": told.blobs_left_out,
        "left_out": tuple(_left_out_form(one) for one in told.left_out),
    }


def _left_out_form(one: LeftOutBlob | LeftOut) -> Form:
    """A blob that has to be brought."""
    return {
        "sha256": one.sha256,
        "size": one.size,
        "why": str(one.why),
        "task_id": one.task_id or None,
        "name": one.name or None,
        "workspace": one.workspace or None,
    }
