"""Which bytes of something are asked for, as a `Range` header says (RFC 9110, 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

_ONE_RANGE = re.compile(
    r"bytes\s*=\s*(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})?|-(?P<suffix>[0-9]{1,18}))", re.ASCII
)


class ByteRange(NamedTuple):
    """One range. `last` None: to the end. `suffix` beats both: the last so many bytes."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None

    def within(self, total: int) -> tuple[int, int] | None:
        """The first byte and the one behind the last, of so many that there are; None if there is none of them."""
        if self.suffix is not None:
            return (max(0, total - self.suffix), total) if self.suffix and total else None
        end = total if self.last is None else min(total, self.last + 1)
        return (self.first, end) if self.first < end else None


def parse_range(header: str) -> ByteRange | None:
    """One range of bytes. None for several, other units and what cannot be read: then all of it is the right answer."""
    found = _ONE_RANGE.fullmatch(header.strip())
    if found is None:
        return None
    first, last, suffix = (None if text is None else int(text) for text in found.group("first", "last", "suffix"))
    if first is not None and last is not None and last < first:
        return None
    return ByteRange(first or 0, last, suffix)
