"""What each commit leaves beside the tasks: its events, serialised once, and a record in the audit chain."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence

from nodelink_server.core.ports import AgentRecord, TaskEvent


def encode_block(made: Sequence[TaskEvent]) -> bytes:
    """Events as they are kept."""
    return json.dumps(made, separators=(",", ":")).encode()


def decode_block(block: bytes) -> list[TaskEvent]:
    """Events from what was kept."""
    return [TaskEvent(*fields) for fields in json.loads(block)]


def audit_hash(*, previous: bytes, sequence: int, time: int, entries: str) -> bytes:
    """The hash of an audit record. It covers the one before it, so that none can be changed or taken out unseen."""
    return hashlib.sha256(b"%b\n%d\n%d\n%b" % (previous, sequence, time, entries.encode())).digest()


def audit_entries(made: Sequence[TaskEvent], kept: Sequence[AgentRecord]) -> dict[str, tuple[int, str]]:
    """For each verb, how often it was done, and the digest of its lines: id, attempt (or session), verb."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for event in made:
        if event.task_id:
            lines[event.name].append(f"{event.task_id} {event.attempt} {event.name}\n")
    for agent in kept:
        lines["agent"].append(f"{agent.id} {agent.session} agent\n")
    return {
        str(verb): (len(texts), hashlib.sha256("".join(texts).encode()).hexdigest()) for verb, texts in lines.items()
    }
