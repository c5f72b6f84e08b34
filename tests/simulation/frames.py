"""What travels on a simulated connection: the frames of the protocol as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nodelink.taken import Taken
from nodelink.task import AttemptRef, LogChunk, TaskResponse, Verdict
from nodelink_server.core.handshake import Hello
from nodelink_server.core.session import Outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an agent says in one frame. `heartbeat` 0: none."""

    task_credit: int = 0
    responses: Sequence[TaskResponse] = ()
    chunks: Sequence[LogChunk] = ()
    heartbeat: int = 0
    interval_ms: int = 0
    running: Sequence[AttemptRef] = ()
    counted: Taken | None = None
    draining: bool = False
    goodbye: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The server's answer to a hello."""

    verdicts: Sequence[Verdict]
    heartbeat: float
    response_credit: int
    log_credit: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server does not take the agent. `last_session` None: another number would not help."""

    last_session: int | None


Frame = Hello | Said | Welcome | Refusal | Outgoing
