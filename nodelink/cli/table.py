"""Tables that fit: what matters least is shortened and then left out, and an id is never cut. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import combining, east_asian_width

from nodelink.cli.colours import heading, of_status
from nodelink.cli.terminal import one_line
from nodelink.cli.times import ago

Form = dict[str, Any]
GAP = 2
"""Spaces between two columns."""

NARROWEST = 6
"""To so many characters a column may be shortened; then it is left out."""

KEEP = 100
"""The weight of a column that is neither shortened nor left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column, and how its cell is read from a form at a moment. The smallest weight gives way first."""

    title: str
    cell: Callable[[Form, int], object]
    weight: int
    may_shorten: bool = True
    is_status: bool = False


def field(name: str, title: str | None = None, *, weight: int) -> Column:
    """A column that shows one field as it is."""
    return Column(title=title or _titled(name), cell=lambda form, _now: form.get(name), weight=weight)


def key(name: str, title: str | None = None) -> Column:
    """The column by which things are named: always there, always whole."""
    return Column(title=title or _titled(name), cell=lambda form, _now: form.get(name), weight=KEEP, may_shorten=False)


def time_field(name: str, title: str, *, weight: int) -> Column:
    """A column that tells roughly how long ago something was."""
    return Column(title=title, cell=lambda form, now: ago(form.get(name), now), weight=weight, may_shorten=False)


def table_text(forms: Sequence[Form], columns: Sequence[Column], *, now: int, width: int | None) -> str:
    """A table in lines without spaces at their ends. `width` None: nothing is shortened or left out."""
    rows = [[_cell(column.cell(form, now)) for column in columns] for form in forms]
    natural = [max([len(column.title), *(_width(row[index]) for row in rows)]) for index, column in enumerate(columns)]
    widths = dict(enumerate(natural)) if width is None else _fitted(columns, natural, width)
    lines = [_line([(columns[i].title, heading) for i in widths], widths.values())]
    for row in rows:
        cells = [(_cut(row[i], size), of_status if columns[i].is_status else str) for i, size in widths.items()]
        lines.append(_line(cells, widths.values()))
    return "".join(f"{line}\n" for line in lines)


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> Mapping[int, int]:
    """The columns that fit, by number, and their widths: first cells get shorter, then columns go."""
    widths = dict(enumerate(natural))
    by_weight = sorted(widths, key=lambda number: columns[number].weight)
    for number in by_weight:
        if columns[number].may_shorten:
            least = max(NARROWEST, len(columns[number].title))
            widths[number] = max(min(widths[number], least), widths[number] - _excess(widths.values(), width))
    for number in by_weight:
        if _excess(widths.values(), width) > 0 and columns[number].weight < KEEP:
            del widths[number]
    return _widened(columns, natural, widths, width)


def _widened(
    columns: Sequence[Column], natural: Sequence[int], widths: dict[int, int], width: int
) -> Mapping[int, int]:
    """What went may have made room: the most important of the shortened ones get it back."""
    for number in sorted(widths, key=lambda number: -columns[number].weight):
        room = -_excess(widths.values(), width)
        widths[number] = min(natural[number], widths[number] + max(0, room))
    return widths


def _excess(widths: Collection[int], width: int) -> int:
    return sum(widths) + GAP * (len(widths) - 1) - width


def _line(cells: Sequence[tuple[str, Callable[[str], str]]], widths: Iterable[int]) -> str:
    """Cells under each other. Painted when they are padded, so that colours have no width."""
    shown = []
    last = max((number for number, (text, _) in enumerate(cells) if text), default=-1)
    for number, ((text, paint), size) in enumerate(zip(cells, widths, strict=True)):
        if number <= last:
            pad = " " * (size - _width(text) + GAP) if number < last else ""
            shown.append((paint(text) if text else "") + pad)
    return "".join(shown)


def card_text(form: Form, *, now: int, width: int | None, times: Sequence[str] = ()) -> str:
    """One thing, a field a line; what is empty is left out. Of `times` it is told how long ago they were.

    A tuple is several lines under one name.
    """
    shown = {name: value for name, value in form.items() if value not in (None, "", [], {}, ())}
    margin = max(map(len, shown), default=0) + GAP
    lines = []
    for name, value in shown.items():
        texts = map(_cell, value) if isinstance(value, tuple) else [_cell(value)]
        if name in times or name.endswith("_at"):
            texts = [f"{text}  ({ago(value, now)})" for text in texts]
        folded = [line for text in texts for line in _folded(text, width and max(width - margin, NARROWEST))]
        paint = of_status if name in {"status", "state"} else str
        lines.append(heading(name.ljust(margin)) + paint(folded[0].rstrip()))
        lines += [" " * margin + more.rstrip() for more in folded[1:]]
    return "".join(f"{line}\n" for line in lines)


def _folded(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    return textwrap.wrap(text, width, drop_whitespace=False, break_on_hyphens=False) or [""]


def _titled(name: str) -> str:
    return name.upper().replace("_", " ")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _width(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _cut(text: str, width: int) -> str:
    """The beginning of a text that takes at most so many places; `…` says that there is more."""
    if _width(text) <= width:
        return text
    kept = text[: width - 1]
    while _width(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept}…"
