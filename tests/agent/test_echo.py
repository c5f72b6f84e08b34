"""The `echo` type."""

from __future__ import annotations

from nodelink.task import Execution, Finished, Outcome
from nodelink_agent.handlers.echo import ECHO


def test_echo_gives_back_its_payload_at_once() -> None:
    assert ECHO.inline is not None
    assert ECHO.inline(b'{"a": 1}') == Finished(outcome=Outcome.COMPLETED, output=b'{"a": 1}')
    assert (ECHO.type, ECHO.execution) == ("echo", Execution.REPLAYABLE)
