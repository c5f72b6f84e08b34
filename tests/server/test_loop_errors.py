"""Complaints of the event loop: each is told, the same one not thousands of times."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from nodelink_server.loop_errors import PAUSE_SECONDS, LoopErrors


async def test_a_complaint_that_goes_on_is_told_now_and_then() -> None:
    now = [0.0]
    note = LoopErrors(now=lambda: now[0])
    loop = asyncio.get_running_loop()
    with capture_logs() as lines:
        for _ in range(1_000):
            note(loop, {"message": "cannot accept", "exception": OSError(24, "Too many open files")})
        note(loop, {"message": "another"})
        note(loop, {"message": "cannot accept", "exception": OSError(24, "Too many open files")})
        now[0] = PAUSE_SECONDS
        note(loop, {"message": "cannot accept", "exception": OSError(24, "Too many open files")})

    told = [(line["message"], line["untold"]) for line in lines]
    assert told == [("cannot accept", 0), ("another", 999), ("cannot accept", 0), ("cannot accept", 0)]
