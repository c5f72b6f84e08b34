"""The audit chain: a record for each commit that did something, each bound to the one before it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, select

from nodelink_server.core.deeds import Deed
from nodelink_server.core.pauses import PauseStep
from nodelink_server.core.ports import AgentRecord, Change
from nodelink_server.store.numbering import Counters
from nodelink_server.store.statements import insert
from nodelink_server.store.tables import audit

_INSERT = insert("audit", ("sequence", "time", "previous", "hash", "entries"))
_encode = json.JSONEncoder(separators=(",", ":")).encode


def audit_hash(*, previous: bytes, sequence: int, time: int, entries: str) -> bytes:
    """The hash of an audit record. It covers the one before it, so that none can be changed or taken out unseen."""
    return hashlib.sha256(b"%b\n%d\n%d\n%b" % (previous, sequence, time, entries.encode())).digest()


def record(connection: Connection, entries: dict[str, Sequence[object]], now: int, before: Counters) -> Counters:
    """Add a record to the chain, if there is anything in it; what to count on from then."""
    if not entries:
        return before
    encoded, sequence = _encode(entries), before.audits + 1
    digest = audit_hash(previous=before.audit_hash, sequence=sequence, time=now, entries=encoded)
    _INSERT.run(connection, [sequence, now, before.audit_hash, digest, encoded])
    return replace(before, audits=sequence, audit_hash=digest)


def is_recorded(connection: Connection, counters: Counters) -> bool:
    """Whether the chain reaches this far."""
    there = select(audit.c.hash).where(audit.c.sequence == counters.audits)
    return not counters.audits or connection.execute(there).scalar_one_or_none() == counters.audit_hash


def audit_entries(
    taken: Iterable[Change],
    kept: Iterable[AgentRecord],
    deeds: Iterable[Deed] = (),
    pauses: Iterable[PauseStep] = (),
    revived: str = "",
) -> dict[str, Sequence[object]]:
    """For each kind of change, how many there were, and the digest of their lines; and what people decided, in full.

    A kind is named after its events; a line is a task's id and attempt, or an agent's id and session. A decision is
    (kind, who, their words, the task's id, or what is paused or no more); a deed is (kind, who, about what, before,
    after). `revived`: a checkpoint that was loaded.
    """
    lines: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    decisions: list[tuple[str, str, str, str]] = []
    for change in taken:
        if change.remark is not None and change.remark.by:
            decisions.append((change.remark.kind, change.remark.by, change.remark.text, change.task.id))
        attempt = change.task.attempt
        lines[change.events].append(f"{change.task.id} {attempt.number if attempt is not None else 0}\n")
    decisions += [("pause" if step.pause else "resume", step.by, step.reason, step.scope) for step in pauses]
    if revived:
        decisions.append(("load_checkpoint", "", "", revived))
    for agent in kept:
        lines["agent",].append(f"{agent.id} {agent.session}\n")
    entries: dict[str, Sequence[object]] = {
        " ".join(kind): (len(texts), hashlib.sha256("".join(texts).encode()).hexdigest())
        for kind, texts in lines.items()
    }
    if decisions:
        entries["decisions"] = decisions
    changed = [(deed.kind, deed.by, deed.about, deed.before, deed.after) for deed in deeds if deed.before != deed.after]
    if changed:
        entries["deeds"] = changed
    return entries
