"""The name of one request, by which a caller and a server's log speak of the same thing."""

from __future__ import annotations

import re
import uuid

REQUEST_ID_KEY = "x-request-id"
"""The header, or the key in a call's metadata."""

_FORM = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


def request_id_or_new(text: str | None) -> str:
    """The caller's own name for a request if it is a sane one, else a new one."""
    return text if text and _FORM.fullmatch(text) else uuid.uuid4().hex
