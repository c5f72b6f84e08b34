"""An attempt's output: free until used, readable as far as it cannot change any more, gone when removed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nodelink.task import LogStream
from nodelink_agent.output import Output
from nodelink_agent.spool import Extent, Gap, SpoolWriter

OUT, ERR = LogStream.STDOUT, LogStream.STDERR


class Growth:
    """Counts how often an output said that it grew."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def growth() -> Growth:
    return Growth()


@pytest.fixture
def output(tmp_path: Path, growth: Growth) -> Output:
    return Output(tmp_path / "attempts" / "a", growth, work=tmp_path / "work" / "a", head_bytes=10, tail_bytes=8)


def test_it_costs_no_file_before_it_is_used(output: Output, tmp_path: Path) -> None:
    assert output.total(OUT) == 0
    assert output.read(OUT, 0, 10) == b""
    output.end()
    assert list(tmp_path.iterdir()) == []


def test_its_directory_is_private(output: Output) -> None:
    assert output.directory.stat().st_mode & 0o777 == 0o700


def test_what_is_appended_can_be_read_at_once(output: Output, growth: Growth) -> None:
    output.append(OUT, b"one")
    output.append(ERR, b"other")

    assert output.read(OUT, 1, 100) == b"ne"
    assert output.read(ERR, 0, 2) == b"ot"
    assert growth.times == 2
    assert output.totals() == {OUT: 3, ERR: 5}


def test_only_the_head_is_readable_until_the_end(output: Output) -> None:
    output.append(OUT, bytes(range(30)))

    assert output.readable_end(OUT) == 10
    assert output.read(OUT, 10, 100) == b""

    output.end()
    assert output.readable_end(OUT) == output.total(OUT) == 30


def test_after_the_end_come_the_gap_and_the_tail(output: Output) -> None:
    for byte in range(30):
        output.append(OUT, bytes([byte]))
    output.end()

    gap = output.read(OUT, 10, 100)
    assert isinstance(gap, Gap)
    assert output.read(OUT, 10 + gap.length, 1) == bytes([10 + gap.length])
    assert output.read(OUT, 29, 100) == bytes([29])


def test_it_reads_what_another_process_has_written(output: Output, growth: Growth) -> None:
    writer = SpoolWriter(output.directory, "stdout", 10, 8)
    writer.append(b"from afar")
    writer.close()

    output.grown(OUT, writer.extent)
    output.grown(OUT, writer.extent)

    assert output.read(OUT, 0, 100) == b"from afar"
    assert growth.times == 1


def test_a_stream_that_printed_nothing_did_not_grow(output: Output, growth: Growth) -> None:
    output.grown(OUT, Extent())
    output.end()
    assert growth.times == 0
    assert output.totals() == {}


def test_the_end_is_growth_if_anything_was_printed(output: Output, growth: Growth) -> None:
    output.append(OUT, b"x")
    output.end()
    output.end()
    assert growth.times == 2


def test_nothing_is_added_after_the_end(output: Output) -> None:
    output.end()
    output.append(OUT, b"late")
    assert output.total(OUT) == 0


def test_what_another_process_writes_after_the_end_is_not_told(output: Output, growth: Growth) -> None:
    output.grown(OUT, Extent(4, 4, 4))
    output.end()
    told = growth.times
    output.grown(OUT, Extent(9, 9, 9))
    assert (output.totals(), growth.times) == ({OUT: 4}, told)


def test_a_directory_that_cannot_be_made_makes_a_gap(tmp_path: Path, growth: Growth) -> None:
    (tmp_path / "file").write_text("in the way")
    output = Output(tmp_path / "file" / "a", growth, work=tmp_path / "work")
    output.append(OUT, b"lost")
    output.end()
    assert output.read(OUT, 0, 100) == Gap(4)


async def test_removal_empties_its_places_at_once_and_the_disk_soon(output: Output, tmp_path: Path) -> None:
    output.append(OUT, b"x")
    (output.directory / "file").write_text("left by a handler")
    output.make_work()
    (tmp_path / "work" / "a" / "file").write_text("left by a command")

    output.remove()
    assert not (tmp_path / "attempts" / "a").exists()
    assert not (tmp_path / "work" / "a").exists()

    await asyncio.get_running_loop().shutdown_default_executor()
    assert list((tmp_path / "attempts").iterdir()) == list((tmp_path / "work").iterdir()) == []


def test_what_left_little_is_removed_without_a_thread(output: Output, tmp_path: Path) -> None:
    output.append(OUT, b"x")
    output.make_work()
    output.remove()  # there is no loop here that could do it later
    assert list((tmp_path / "attempts").iterdir()) == list((tmp_path / "work").iterdir()) == []


def test_a_place_to_work_is_private_and_costs_no_place_for_output(output: Output, tmp_path: Path) -> None:
    assert Path(output.make_work()).stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "attempts").exists()
    output.remove()
    assert list((tmp_path / "work").iterdir()) == []


async def test_removal_of_what_was_never_made_does_nothing(output: Output, tmp_path: Path) -> None:
    output.remove()
    assert not (tmp_path / "attempts").exists()
