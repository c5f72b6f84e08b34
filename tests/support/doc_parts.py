"""Pages that people write and in which some tables are made from code.

Such a part stands between `<!-- made from the code: NAME -->` and `<!-- end -->`; the rest of the page is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

Part = Callable[[], Iterable[str]]
"""Makes the lines of one part."""

_PART = re.compile(r"(<!-- made from the code: (?P<name>[^>]+?) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def names_of_parts(text: str) -> list[str]:
    """The parts of a page that are made from code, from its top."""
    return [found["name"] for found in _PART.finditer(text)]


def with_parts(text: str, parts: Mapping[str, Part]) -> str:
    """A page with its parts made anew. KeyError: nobody knows how to make one of them."""

    def made(found: re.Match[str]) -> str:
        return found[1] + "\n".join(["", *parts[found["name"]](), "", ""]) + found[3]

    return _PART.sub(made, text)


def page_with_parts(name: str, parts: Mapping[str, Part]) -> Callable[[], str]:
    """Makes a page of docs/ whose parts are these."""

    def page() -> str:
        return with_parts((DOCS / name).read_text(encoding="utf-8"), parts)

    return page


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
