"""What a checkpoint lacks of blobs, said to the person who has to bring them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelink.cli.output import say

if TYPE_CHECKING:
    from nodelink.checkpoint import CheckpointHeader, LeftOut
    from nodelink.client import Checkpoint, LeftOutBlob


def say_lacking(told: Checkpoint | CheckpointHeader) -> None:
    """Say which blobs are not in a checkpoint, and how they get to where it is loaded; nothing, if it has all."""
    if not told.blobs_left_out:
        return
    say(f"{told.blobs_left_out:,} blob(s) are not in it; bring them to its server: nodelink artifacts upload FILE")
    for one in told.left_out:
        say(f"  {one.sha256}  {one.size:,} bytes  {one.why}  {_needed_by(one)}")
    if told.blobs_left_out > len(told.left_out):
        say(f"  and {told.blobs_left_out - len(told.left_out):,} more")


def _needed_by(one: LeftOutBlob | LeftOut) -> str:
    if not one.task_id:
        return f"the state of workspace {one.workspace}"
    return f"{one.name or 'the payload'} of task {one.task_id}"
