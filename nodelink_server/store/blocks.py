"""What each commit leaves beside the tasks: its events, serialised once, and a record in the audit chain."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence

from nodelink_server.core.ports import AgentRecord, Change, TaskEvent


def encode_block(made: Sequence[TaskEvent]) -> bytes:
    """Events as they are kept."""
    return json.dumps(made, separators=(",", ":")).encode()


def decode_block(block: bytes) -> list[TaskEvent]:
    """Events from what was kept."""
    return [TaskEvent(*fields) for fields in json.loads(block)]


def audit_hash(*, previous: bytes, sequence: int, time: int, entries: str) -> bytes:
    """The hash of an audit record. It covers the one before it, so that none can be changed or taken out unseen."""
    return hashlib.sha256(b"%b\n%d\n%d\n%b" % (previous, sequence, time, entries.encode())).digest()


def audit_entries(taken: Sequence[Change], kept: Sequence[AgentRecord]) -> dict[str, tuple[int, str]]:
    """For each kind of change, how many there were, and the digest of their lines.

    A kind is named after its events; a line is a task's id and attempt, or an agent's id and session.
    """
    lines: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for change in taken:
        attempt = change.task.attempt
        lines[change.events].append(f"{change.task.id} {attempt.number if attempt is not None else 0}\n")
    for agent in kept:
        lines["agent",].append(f"{agent.id} {agent.session}\n")
    return {
        " ".join(kind): (len(texts), hashlib.sha256("".join(texts).encode()).hexdigest())
        for kind, texts in lines.items()
    }
