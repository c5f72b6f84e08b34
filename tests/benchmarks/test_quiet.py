"""Whether the machine is quiet."""

from __future__ import annotations

import pytest

from benchmarks.quiet import MOST_BUSY, Silence, Ticks, busy_share, listen, ticks_of

STAT = """\
cpu  100 20 30 800 40 5 5 0 7 0
cpu0 50 10 15 400 20 2 3 0 7 0
intr 12345 0 0
ctxt 67890
"""


def test_the_line_of_all_processors_is_read() -> None:
    assert ticks_of(STAT) == Ticks(idle=800, total=1_000)


def test_what_the_host_takes_away_is_not_idle() -> None:
    assert ticks_of("cpu  0 0 0 10 0 0 0 90 0 0\n") == Ticks(idle=10, total=100)


def test_text_without_that_line_is_refused() -> None:
    with pytest.raises(ValueError, match="no line of all processors"):
        ticks_of("cpu0 1 2 3 4 5 6 7 8\n")


def test_the_share_is_of_the_time_between() -> None:
    assert busy_share(Ticks(800, 1_000), Ticks(950, 1_200)) == 0.25


def test_no_time_is_nobody_s_time() -> None:
    assert busy_share(Ticks(800, 1_000), Ticks(800, 1_000)) == 0.0


def test_a_machine_is_quiet_up_to_a_limit() -> None:
    assert [Silence(busy).is_quiet for busy in (0.0, MOST_BUSY, MOST_BUSY + 0.01)] == [True, True, False]


async def test_this_machine_can_be_listened_to() -> None:
    silence = await listen(0.05)

    assert 0.0 <= silence.busy <= 1.0
