"""Reading stored output: rows cut to what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nodelink_server.core.ports import LogRow


def cut(rows: Iterable[LogRow], *, by_stream: bool, offset: int, limit: int) -> Sequence[LogRow]:
    """The part of these rows, which are in order, from an offset on: at most `limit` bytes, gaps not counted.

    `offset` counts within the stream (`by_stream`), or else over both streams in order of arrival.
    """
    kept: list[LogRow] = []
    room = limit
    for row in rows:
        if room <= 0:
            break
        begin = row.offset if by_stream else row.position
        part = _part(row, max(0, offset - begin), room)
        if part.length:
            kept.append(part)
            room -= len(part.data)
    return kept


def _part(row: LogRow, skip: int, room: int) -> LogRow:
    """A row without its first `skip` bytes, and no longer than `room`."""
    if skip == 0 and len(row.data) <= room:
        return row
    return row._replace(
        offset=row.offset + skip,
        position=row.position + skip,
        data=row.data[skip : skip + room],
        gap=max(0, row.gap - skip),
    )
