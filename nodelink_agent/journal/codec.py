"""The journal's records as bytes, and back. Payloads are text, so that records can be found in a damaged file.

A start begins with the name of its attempt and all that is needed to look for it, under a checksum of its own: that can
be read although the rest of the record is damaged.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from nodelink.task import AttemptRef, Execution, TaskRequest, TaskResponse, TaskSpec
from nodelink.v1 import agent_pb2
from nodelink.values import evolve
from nodelink.wire import put_task_request, put_task_response, task_request_of, task_response_of
from nodelink_agent.core.records import EndRecord, ForgetRecord, Record, StartRecord
from nodelink_agent.records import Format, encode
from nodelink_agent.records import Record as Framed

FORMAT = Format(b"JNL", 1)
SINCE, STARTED, ENDED, FORGOTTEN = 1, 2, 3, 4

_NAME = re.compile(rb'(\["[^\]\n]*\]) ([0-9a-f]{8}) ')


class Since(NamedTuple):
    """The journal is whole from this session on."""

    session: int


Entry = Since | Record


class Unreadable(Exception):
    """A record whose frame is whole and whose content is not what this version writes."""


def encoded(entry: Entry) -> bytes:
    """A record as it stands in the file. The payload of its task is not kept: what began is never begun again."""
    match entry:
        case Since(session):
            return encode(SINCE, str(session).encode())
        case StartRecord(request, place, at):
            message = agent_pb2.TaskRequest()
            put_task_request(message, evolve(request, payload=b""))
            return encode(STARTED, _name(request, place, at) + base64.b64encode(message.SerializeToString()))
        case EndRecord(response):
            told = agent_pb2.TaskResponse()
            put_task_response(told, response)
            return encode(ENDED, base64.b64encode(told.SerializeToString()))
        case ForgetRecord(ref):
            return encode(FORGOTTEN, json.dumps(list(ref)).encode())


def decoded(record: Framed) -> Entry:
    """Read a record. Unreadable: it is of a kind, or says something, that this version does not know."""
    try:
        match record.kind:
            case 1:
                return Since(int(record.payload))
            case 2:
                return _started(record.payload)
            case 3:
                return EndRecord(_response(base64.b64decode(record.payload)))
            case 4:
                return ForgetRecord(AttemptRef(*json.loads(record.payload)))
    except (ValueError, TypeError, DecodeError) as error:
        raise Unreadable(f"a record of kind {record.kind} cannot be read: {error}") from error
    raise Unreadable(f"a record is of kind {record.kind}, which is not known")


def names_in(data: bytes) -> Iterator[StartRecord]:
    """What can still be told of the starts in a damaged file: attempt, class, type and place."""
    for match in _NAME.finditer(data):
        name, checksum = match.groups()
        if int(checksum, 16) == zlib.crc32(name):
            yield _named(name)


def _name(request: TaskRequest, place: str, at: float) -> bytes:
    name = json.dumps([*request.ref, request.execution, request.spec.type, place, at]).encode()
    return name + b" %08x " % zlib.crc32(name)


def _named(name: bytes) -> StartRecord:
    task_id, attempt, fence, execution, task_type, place, at = json.loads(name)
    ref = AttemptRef(task_id, attempt, fence)
    request = TaskRequest(ref=ref, spec=TaskSpec(type=task_type), payload=b"", execution=Execution(execution))
    return StartRecord(request, place, at)


def _started(payload: bytes) -> StartRecord:
    name, _, rest = payload.rsplit(b" ", 2)
    _, place, at = _named(name)
    request = task_request_of(agent_pb2.TaskRequest.FromString(base64.b64decode(rest)))
    if request is None:
        raise ValueError("its task cannot be read")
    return StartRecord(request, place, at)


def _response(data: bytes) -> TaskResponse:
    response = task_response_of(agent_pb2.TaskResponse.FromString(data))
    if response is None:
        raise ValueError("its result cannot be read")
    return response
