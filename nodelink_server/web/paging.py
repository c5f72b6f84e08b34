"""Page tokens: opaque, and bound to the filters that they were made for."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import replace

from nodelink.errors import FieldError, InvalidTask
from nodelink_server.core.ports import TaskQuery

_DIGEST_BYTES = 8
_TOKEN = struct.Struct(f">q{_DIGEST_BYTES}s")


def page_token(query: TaskQuery, *, before_key: int) -> str:
    """The token of the page that begins before a task."""
    return token_at(before_key, *_filters(query))


def turned(query: TaskQuery, token: str) -> TaskQuery:
    """The query at the page of a token. InvalidTask: it is no token, or one of other filters."""
    return replace(query, before_key=position_of(token, *_filters(query)))


def token_at(position: int, *filters: object) -> str:
    """The token of the page that begins before a position in what the filters choose."""
    return base64.urlsafe_b64encode(_TOKEN.pack(position, _digest(filters))).decode().rstrip("=")


def position_of(token: str, *filters: object) -> int:
    """Where the page of a token begins. InvalidTask: it is no token, or one of other filters."""
    try:
        position, digest = _TOKEN.unpack(
            base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        )
    except (ValueError, struct.error) as error:
        raise InvalidTask(FieldError("page_token", "is not one that this server gave")) from error
    if position < 1 or digest != _digest(filters):
        raise InvalidTask(FieldError("page_token", "belongs to other filters; begin again without it"))
    return int(position)


def _filters(query: TaskQuery) -> tuple[object, ...]:
    """The filters alone: pages may change their size."""
    return (
        sorted(query.statuses),
        query.type,
        query.pool,
        query.workspace,
        query.agent_id,
        query.created_after,
        query.created_before,
        sorted(query.labels),
        query.q,
        *sorted(query.ids),
    )


def _digest(filters: tuple[object, ...]) -> bytes:
    return hashlib.sha256(repr(filters).encode()).digest()[:_DIGEST_BYTES]
