"""Output, over every store: where it ends, what is there already, reading by stream and in order of arrival, gaps."""

from __future__ import annotations

import pytest

from nodelink.task import LogStream
from nodelink_server.core.ports import LogEnds, LogRow, Store

OUT, ERR = LogStream.STDOUT, LogStream.STDERR


class Writer:
    """Makes rows that follow each other, as the processor does."""

    def __init__(self, key: int = 1, attempt: int = 1) -> None:
        self._of = (key, attempt)
        self._ends = {OUT: 0, ERR: 0}
        self._position = 0

    def row(self, stream: LogStream, data: bytes, *, gap: int = 0) -> LogRow:
        row = LogRow(*self._of, stream, self._ends[stream], self._position, data, gap)
        self._ends[stream] += row.length
        self._position += row.length
        return row


@pytest.fixture
async def written(store: Store) -> Store:
    """out "abc", err "XY", out "de", a gap of 10 in err, err "Z", out "f"."""
    writer = Writer()
    await store.append_logs([writer.row(OUT, b"abc"), writer.row(ERR, b"XY"), writer.row(OUT, b"de")])
    await store.append_logs([writer.row(ERR, b"", gap=10), writer.row(ERR, b"Z"), writer.row(OUT, b"f")])
    return store


def text(rows: object) -> bytes:
    assert isinstance(rows, list | tuple)
    return b"".join(row.data or b"." * row.gap for row in rows)


async def test_without_output_everything_ends_at_nothing(store: Store) -> None:
    assert await store.log_ends(1, 1) == LogEnds(0, 0, 0)
    assert list(await store.read_logs(1, 1, None, 0, 100)) == []


async def test_ends_count_gaps(written: Store) -> None:
    assert await written.log_ends(1, 1) == LogEnds(stdout=6, stderr=13, position=19)


async def test_attempts_have_outputs_of_their_own(written: Store) -> None:
    await written.append_logs([Writer(attempt=2).row(OUT, b"second"), Writer(key=2).row(OUT, b"other")])

    assert await written.log_ends(1, 2) == LogEnds(6, 0, 6)
    assert text(await written.read_logs(1, 2, OUT, 0, 100)) == b"second"
    assert text(await written.read_logs(1, 1, OUT, 0, 100)) == b"abcdef"
    assert text(await written.read_logs(2, 1, None, 0, 100)) == b"other"


async def test_both_streams_are_read_in_order_of_arrival(written: Store) -> None:
    assert text(await written.read_logs(1, 1, None, 0, 100)) == b"abcXYde..........Zf"


@pytest.mark.parametrize("stream, whole", [(OUT, b"abcdef"), (ERR, b"XY..........Z"), (None, b"abcXYde..........Zf")])
async def test_reading_begins_anywhere(written: Store, stream: LogStream | None, whole: bytes) -> None:
    for offset in range(len(whole) + 2):
        rows = await written.read_logs(1, 1, stream, offset, 100)
        assert text(rows) == whole[offset:]


async def test_cut_rows_say_where_they_begin(written: Store) -> None:
    (first, second, *_) = await written.read_logs(1, 1, OUT, 1, 100)

    assert (first.offset, first.position, first.data) == (1, 1, b"bc")
    assert (second.offset, second.position, second.data) == (3, 5, b"de")


async def test_a_cut_gap_is_as_much_shorter(written: Store) -> None:
    gap, last = await written.read_logs(1, 1, ERR, 5, 100)

    assert (gap.offset, gap.position, gap.gap, gap.data) == (5, 10, 7, b"")
    assert (last.offset, last.position, last.data) == (12, 17, b"Z")


async def test_a_limit_cuts_the_last_row(written: Store) -> None:
    rows = await written.read_logs(1, 1, None, 1, 5)

    assert [row.data for row in rows] == [b"bc", b"XY", b"d"]


async def test_pages_put_together_are_the_whole(written: Store) -> None:
    seen, offset = b"", 0

    while rows := await written.read_logs(1, 1, None, offset, 2):
        seen += text(rows)
        offset = rows[-1].position + rows[-1].length

    assert seen == b"abcXYde..........Zf"


async def test_rows_that_are_there_already_are_left_alone(written: Store) -> None:
    again = LogRow(1, 1, OUT, 0, 0, b"abc")
    beyond = LogRow(1, 1, OUT, 6, 19, b"g")

    await written.append_logs([again, beyond])

    assert text(await written.read_logs(1, 1, OUT, 0, 100)) == b"abcdefg"
    assert await written.log_ends(1, 1) == LogEnds(7, 13, 20)


async def test_nothing_to_append_is_fine(store: Store) -> None:
    await store.append_logs([])

    assert await store.log_ends(1, 1) == LogEnds()


async def test_large_output_is_read_within_the_limit(store: Store) -> None:
    writer = Writer()
    await store.append_logs([writer.row(OUT, bytes([n % 256]) * 65_536) for n in range(40)])

    rows = await store.read_logs(1, 1, None, 100_000, 200_000)

    assert sum(len(row.data) for row in rows) == 200_000
    assert rows[0].position == 100_000
