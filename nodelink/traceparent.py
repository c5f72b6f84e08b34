"""The W3C trace context as it travels beside a task: read, never trusted."""

from __future__ import annotations

import re

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_or_empty(text: str | None) -> str:
    """A `traceparent` as it is, if it is one of version 00; else empty, for the standard wants a wrong one ignored."""
    return text if text and _FORM.fullmatch(text) else ""
