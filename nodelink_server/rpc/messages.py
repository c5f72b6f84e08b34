"""Messages on their way in and out: what cannot be read, and what is larger than allowed, becomes an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from nodelink.errors import Malformed, TooLarge

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message, in either direction: what every gRPC client takes unless it was told otherwise."""

READABLE_BYTES = 2 * MAX_MESSAGE_BYTES
"""Up to here a message that is too large is still read, to be refused by name. Beyond, gRPC itself ends the call."""

PAGE_BYTES = 2 * 1024 * 1024
"""About how large an answer may get before it ends early. What comes last may be larger than others, within reason."""

Read = Callable[[bytes], Any]
Write = Callable[[Any], bytes]


def reader(deserialize: Read) -> Read:
    """Read a message. Raises `TooLarge`, or `Malformed` for bytes that are none."""

    def read(raw: bytes) -> Any:
        if len(raw) > MAX_MESSAGE_BYTES:
            raise TooLarge(message=f"a message of {len(raw):,} bytes; at most {MAX_MESSAGE_BYTES:,} are allowed")
        try:
            return deserialize(raw)
        except DecodeError as error:
            raise Malformed("the request is not a message of this call's type") from error

    return read


def writer(serialize: Write) -> Write:
    """Write a message. Raises `TooLarge`: the caller would not be able to read it."""

    def write(message: Any) -> bytes:
        raw = serialize(message)
        if len(raw) > MAX_MESSAGE_BYTES:
            limit = f"at most {MAX_MESSAGE_BYTES:,} are allowed"
            raise TooLarge(message=f"the answer would have {len(raw):,} bytes; {limit}: ask for less at a time")
        return raw

    return write
