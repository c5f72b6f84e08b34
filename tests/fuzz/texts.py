"""Targets that read texts and files: JSON payloads, the payload of a shell task, a journal."""

from __future__ import annotations

import json
import math
from typing import Any

from nodelink.errors import InvalidTask
from nodelink_agent.handlers.shell_payload import read_payload
from nodelink_agent.journal.codec import Entry, Unreadable, decoded, encoded, names_in
from nodelink_agent.journal.known import known_of, read_entries, ref_of
from nodelink_agent.records import Damage, Format, Scan, UnknownFormat, encode, scan
from nodelink_server.core.jsontext import MOST_DEPTH, read_json

JOURNAL = Format(b"JNL", 1)


def json_text(data: bytes) -> None:
    """What is accepted is JSON as everybody reads it, within bounds; what is not is refused in words."""
    try:
        value = read_json(data)
    except ValueError:
        return
    assert json.loads(data) == value
    assert _depth(value) <= MOST_DEPTH
    again = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    assert read_json(again) == value


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    assert not isinstance(value, float) or math.isfinite(value)
    return 0


def shell_payload(data: bytes) -> None:
    """What is accepted can be handed to a program; what is not names a field."""
    try:
        payload = read_payload(data)
    except InvalidTask:
        return
    assert payload.argv
    for text in (*payload.argv, *payload.env, *payload.env.values(), payload.cwd or "/"):
        assert b"\0" not in text.encode()
    assert all(name and "=" not in name and not name.startswith("NODELINK_") for name in payload.env)
    assert payload.cwd is None or payload.cwd.startswith("/")


def journal(data: bytes) -> None:
    """Whatever a disk has made of a journal: it is read without an error, and what is read was written so."""
    for file in (data, JOURNAL.header + data):
        try:
            found = scan(file, JOURNAL)
        except UnknownFormat:
            continue
        _check_scan(file, found)
        entries, _ = read_entries([*found.records, *found.rescued])
        known_of(entries)
        list(names_in(file))


def journal_record(data: bytes) -> None:
    """A record whose frame is whole is read, or refused; what is read can be written, and is then read as it was."""
    kind, payload = (data[0] % 6, data[1:]) if data else (0, b"")
    [record] = scan(JOURNAL.header + encode(kind, payload), JOURNAL).records
    try:
        entry = decoded(record)
    except Unreadable:
        return
    once = _written_and_read(entry)
    assert ref_of(once) == ref_of(entry)
    assert _written_and_read(once) == once


def _written_and_read(entry: Entry) -> Entry:
    [record] = scan(JOURNAL.header + encoded(entry), JOURNAL).records
    return decoded(record)


def _check_scan(data: bytes, found: Scan) -> None:
    assert found.end <= len(data)
    assert (found.damage is Damage.NONE) == (found.end == len(data))
    assert (found.damage is Damage.MIDDLE) == bool(found.rescued)
    whole = b"".join(encode(record.kind, record.payload) for record in found.records)
    assert data[: found.end] == (JOURNAL.header + whole if found.end else b"")
    for record in found.rescued:
        assert encode(record.kind, record.payload) in data[found.end :]
    again = scan(data[: found.end], JOURNAL)
    assert (list(again.records), again.end, again.damage) == (list(found.records), found.end, Damage.NONE)
