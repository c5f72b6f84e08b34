"""What of the database is in a checkpoint. Every table stands in exactly one of these lists (a test sees to that).

A new column of a kept table is kept without a word; one without a default must not be added, or older checkpoints could
not be loaded any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

BY_TASK: Mapping[str, str] = {
    "tasks": "key",
    "task_specs": "task_key",
    "task_results": "task_key",
    "attempts": "task_key",
    "task_keys": "task_key",
    "task_remarks": "task_key",
    "late_results": "task_key",
}
"""Kept as far as they hang on a task that is kept, by this column."""

WHOLE: Sequence[str] = ("holds", "limits", "rates", "workspaces", "pauses", "agents", "task_spans", "answers")
"""Kept as they are: few rows, or as many as there are tasks with agents."""

OF_BLOBS: Sequence[str] = ("blobs", "artifacts", "workspace_states")
"""Kept as far as what goes on needs them, as `checkpoint_blobs.py` says; the bytes are in lines of their own."""

YIELDING = frozenset({"agents", "blobs"})
"""What is there already when a checkpoint is loaded stays: an agent may have come first, and is known better; a blob is
the same everywhere.
"""

LEFT_OUT: Mapping[str, str] = {
    "meta": "its numbers are in the header",
    "task_labels": "made again from the metadata in task_specs",
    "events": "who resumes behind a revision of another database is told to begin again",
    "audit": "the chain of records is one database's own",
    "agent_sessions": "each connection was to another server",
    "statistics": "counts of what another server has done",
    "loaded_checkpoints": "with which checkpoints another database was begun",
}
"""Not kept, and why."""
