"""Which characters names, keys and words may have, as patterns: to check them by, and to publish."""

from __future__ import annotations

import re

UNSEEN = r"\u0000-\u001f\u007f-\u00a0\u00ad\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
"""Characters that nobody sees, or that look like a space, as a pattern has them: two locks that look alike are one."""

SAID = rf"[^ {UNSEEN}]"
"""What words must have to say anything: a character that somebody sees."""

SPACES = " \t\n\r\v\f"
BLANK = r" \t\n\r\u000b\u000c"
"""What a command must not be alone, and as a pattern has it. Named one by one: languages differ about spaces."""

SURROGATE = re.compile(r"[\ud800-\udfff]")
"""A half of a pair, which is no character, and which no database takes."""

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}", re.IGNORECASE)
MAX_KEY_CHARS = 200
_KEY = re.compile(rf"[^{UNSEEN}]{{1,{MAX_KEY_CHARS}}}")


def is_key(text: str) -> bool:
    """Whether a text can name a lock, a limit or anything else that callers share: printable, and not too long."""
    return _KEY.fullmatch(text) is not None and not SURROGATE.search(text)
