"""What becomes of held attempts by the server's verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from nodelink.task import AttemptRef, HeldAttempt, LogAck, Verdict, VerdictAction


class Reconciliation(NamedTuple):
    """What to keep, to stop and to forget, and where output goes on."""

    keep: list[AttemptRef]
    stop: list[AttemptRef]
    forget: list[AttemptRef]
    logs: list[LogAck]


def reconcile(held: Iterable[HeldAttempt], verdicts: Iterable[Verdict]) -> Reconciliation:
    """Sort the held attempts by verdict. One without a verdict is kept: work is not thrown away by mistake."""
    answers = {verdict.ref: verdict for verdict in verdicts}
    outcome = Reconciliation([], [], [], [])
    for attempt in held:
        verdict = answers.get(attempt.ref)
        match verdict and verdict.action:
            case VerdictAction.FORGET:
                outcome.forget.append(attempt.ref)
            case VerdictAction.STOP:
                outcome.stop.append(attempt.ref)
            case _:
                outcome.keep.append(attempt.ref)
        if verdict is not None:
            outcome.logs.extend(verdict.logs)
    return outcome
