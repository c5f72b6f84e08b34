"""Which of several forms a caller would rather have, as its `Accept` header says (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_QUALITY = re.compile(r"[01](\.[0-9]{0,3})?", re.ASCII)
MOST_RANGES = 50


class MediaRange(NamedTuple):
    """One part of the header: what it matches, how much it is liked, and where it stands."""

    type: str
    subtype: str
    quality: float
    place: int

    def matches(self, media_type: str) -> bool:
        """Whether a media type is one of these."""
        type_, _, subtype = media_type.partition("/")
        return self.type in {"*", type_} and self.subtype in {"*", subtype}

    @property
    def precision(self) -> int:
        """A range that says more goes before one that says less."""
        return (self.type != "*") + (self.subtype != "*")


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """The best liked of the offered media types; None if none is wanted.

    Among equals the one that is named first wins, then the one that is offered first. A range that cannot be read is
    passed over, and an empty header takes anything.
    """
    ranges = [found for place, part in enumerate(accept.split(",")[:MOST_RANGES]) if (found := _range(part, place))]
    if not accept.strip():
        return offered[0]
    liked = [(found, media_type) for media_type in offered if (found := _opinion(ranges, media_type)) and found.quality]
    if not liked:
        return None
    return min(liked, key=lambda one: (-one[0].quality, one[0].place))[1]


def _opinion(ranges: Sequence[MediaRange], media_type: str) -> MediaRange | None:
    """The most precise thing that is said about a media type."""
    about = [found for found in ranges if found.matches(media_type)]
    return max(about, key=lambda found: (found.precision, -found.place)) if about else None


def _range(part: str, place: int) -> MediaRange | None:
    media_type, *parameters = [piece.strip().lower() for piece in part.split(";")]
    type_, slash, subtype = media_type.partition("/")
    if not (slash and type_ and subtype) or (type_ == "*" and subtype != "*"):
        return None
    quality = next((value for name, _, value in (piece.partition("=") for piece in parameters) if name == "q"), "1")
    if not _QUALITY.fullmatch(quality):
        return None
    return MediaRange(type_, subtype, min(1.0, float(quality)), place)
