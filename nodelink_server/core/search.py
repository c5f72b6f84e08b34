"""What a search for tasks by a few words means. Nothing is looked for inside of texts: that would read every task."""

from __future__ import annotations

import re
from typing import NamedTuple

from nodelink.errors import FieldError, InvalidTask
from nodelink_server.core.characters import NAME, SPACES
from nodelink_server.core.validation import MAX_METADATA_CHARS

_BEGINNING = re.compile(r"[0-9a-f-]{1,36}")


class Search(NamedTuple):
    """What to look for: any of what is given matches."""

    id_prefix: str = ""
    type: str = ""
    label: tuple[str, str] | None = None


def search_of(q: str) -> Search:
    """What `q` means: an entry of the metadata if there is a `=` in it, else how an id begins, or a type.

    Raises `InvalidTask` for what can be none of these.
    """
    text = q.strip(SPACES)
    name, equals, value = text.partition("=")
    if equals:
        if not name or max(len(name), len(value)) > MAX_METADATA_CHARS:
            raise InvalidTask(FieldError("q", f"name=value takes 1 to {MAX_METADATA_CHARS} characters each"))
        return Search(label=(name, value))
    beginning = text.lower() if _BEGINNING.fullmatch(text.lower()) else ""
    type = text if NAME.fullmatch(text) else ""
    if not beginning and not type:
        raise InvalidTask(FieldError("q", "must be the beginning of an id, a type, or name=value of the metadata"))
    return Search(id_prefix=beginning, type=type)
