"""Agents that break one rule of the protocol each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nodelink.task import HeldAttempt, ResultAck
from nodelink_agent.core.agent import Work


def drops_results_on_reconnect(core: Any) -> None:
    """A result that was sent and not acknowledged is not sent again."""
    begin = core._outbox.new_session

    def clean() -> None:
        core._outbox._unacknowledged.clear()
        begin()

    core._outbox.new_session = clean


def hides_what_it_holds(core: Any) -> None:
    """The hello lists nothing."""
    held = core.hello_held

    def modest() -> list[HeldAttempt]:
        held()
        return []

    core.hello_held = modest


def forgets_output_with_the_result(core: Any) -> None:
    """When the result is acknowledged, what is left of the output is thrown away."""
    acked = core.result_acked

    def tidy(acks: Iterable[ResultAck]) -> Work:
        acks = list(acks)
        work: Work = acked(acks)
        for ack in acks:
            if core._attempts.drop(ack.ref):
                raise AssertionError("an acknowledged attempt ran")
            core._logs.forget(ack.ref)
            work.forget.append(ack.ref)
        return work

    core.result_acked = tidy


def ignores_where_output_is_to_go_on(core: Any) -> None:
    """After a reconnect, output goes on from where the agent believes that it was, sent or not."""
    core._logs.new_session = lambda: setattr(core._logs, "_bytes_left", 0)
    core._logs.resume = lambda ack: None
    core._logs.resend_still = lambda: None
