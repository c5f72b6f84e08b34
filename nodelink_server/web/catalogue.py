"""What the code of the routes does not say of them: how each can refuse, its headers, and examples.

By `operationId`, which is the name of the route's function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nodelink.errors import ErrorCode
from nodelink_server.web import examples


class Refusal(NamedTuple):
    """One way in which a request can be refused."""

    status: int
    code: str
    detail: str
    field: str = ""

    def problem(self, title: str) -> dict[str, Any]:
        """How it is answered."""
        shown: dict[str, Any] = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": f"{self.field}: {self.detail}" if self.field else self.detail,
            "code": str(self.code),
            "errors": [{"field": self.field, "message": self.detail}] if self.field else [],
            "request_id": "8b1c2f0e5d9a4b7f8a6e3c1d0f2b4a69",
        }
        return {**shown, "retry_after": 5} if self.status in {429, 503} else shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One operation. `answers`: an example for each status, or several by media type."""

    answers: Mapping[int, Any]
    body: Any = None
    refusals: tuple[Refusal, ...] = ()
    headers: tuple[str, ...] = ()
    """Those of its successes."""


@dataclass(frozen=True, slots=True)
class Forms:
    """An answer that has several forms, with an example of each."""

    description: str
    by_media_type: Mapping[str, str]


EVERYWHERE: tuple[Refusal, ...] = (
    Refusal(400, ErrorCode.MALFORMED, "a request names one Host"),
    Refusal(403, ErrorCode.FORBIDDEN, "the Host 'example.org' is not one of this server's"),
    Refusal(413, ErrorCode.TOO_LARGE, "the body is larger than 1048576 bytes"),
    Refusal(414, ErrorCode.TOO_LARGE, "the path and the query are longer than 8192 bytes"),
    Refusal(415, "UNSUPPORTED_MEDIA_TYPE", "a body must have the Content-Type application/json"),
    Refusal(422, ErrorCode.INVALID, "there is no such parameter", field="nonsense"),
    Refusal(431, ErrorCode.TOO_LARGE, "the headers are larger than 32768 bytes"),
    Refusal(500, ErrorCode.INTERNAL, "the server failed to answer; its log has this request's id"),
    Refusal(503, ErrorCode.UNAVAILABLE, "the database cannot be written to: the disk is full"),
)
"""What any request may be told."""

NO_TASK = Refusal(404, ErrorCode.NOT_FOUND, f"there is no task {examples.TASK_ID}")
NO_AGENT_KNOWN = Refusal(404, ErrorCode.NOT_FOUND, f"there is no agent {examples.AGENT_ID}")
NO_AGENT = Refusal(503, ErrorCode.NO_AGENT, "No fitting agent has room now.")
OVERLOADED = Refusal(429, ErrorCode.OVERLOADED, "there are 100000 live tasks already")
LISTENERS = Refusal(429, ErrorCode.OVERLOADED, "there are 5000 listeners already")
OTHER_BODY = Refusal(
    409, ErrorCode.IDEMPOTENCY_CONFLICT, "The idempotency key was used before, for a different request."
)
NOT_FINISHED = Refusal(409, ErrorCode.NOT_FINISHED, "The task has not finished yet: it is in_progress.")
FINISHED = Refusal(409, ErrorCode.ALREADY_FINISHED, "the task has already finished: completed")
CHANGING = Refusal(409, ErrorCode.CONFLICT, "the task changes faster than it can be cancelled; try again")
NOT_BUILT = Refusal(422, ErrorCode.NOT_BUILT, "not available in this version: locks", field="lock")
BAD_FIELD = Refusal(
    422, ErrorCode.INVALID, "'-5s' is not a duration; write it like 1h30m, 45s or 500ms", field="timeout"
)
BIG_PAYLOAD = Refusal(413, ErrorCode.TOO_LARGE, "is 300000 bytes; at most 262144 are allowed", field="payload")
BAD_TOKEN = Refusal(422, ErrorCode.INVALID, "belongs to other filters; begin again without it", field="page_token")
NO_FORM = Refusal(
    406, "NOT_ACCEPTABLE", "output can be read as text/plain, application/x-ndjson, text/event-stream; name one of them"
)
NO_RANGE = Refusal(416, "RANGE_NOT_SATISFIABLE", "there are 14 bytes of output")
TOGETHER = Refusal(422, ErrorCode.INVALID, "cannot be given together with offset", field="tail")
PROFILED = Refusal(429, ErrorCode.OVERLOADED, "another profile is being taken")
NOT_READY = Refusal(503, ErrorCode.UNAVAILABLE, "the scheduler stands still since 2026-01-31T09:30:00Z")
BAD_STEP = Refusal(422, ErrorCode.INVALID, "must be whole minutes", field="step")

SUBMITTING = (BAD_FIELD, NOT_BUILT, BIG_PAYLOAD, OTHER_BODY, OVERLOADED, NO_AGENT)
PLACED = ("Location", "Idempotency-Replayed")
READING = ("X-Next-Offset", "X-Log-Complete", "Accept-Ranges")

OPERATIONS: Mapping[str, Entry] = {
    "submit_task": Entry(body=examples.NEW_TASK, answers={201: examples.PENDING}, refusals=SUBMITTING, headers=PLACED),
    "submit_shell_task": Entry(
        body=examples.NEW_SHELL_TASK, answers={201: examples.SHELL_PENDING}, refusals=SUBMITTING, headers=PLACED
    ),
    "submit_batch": Entry(body=examples.NEW_BATCH, answers={200: examples.OUTCOMES}, refusals=(OVERLOADED,)),
    "retry_task": Entry(
        answers={201: examples.RETRIED},
        refusals=(NO_TASK, NOT_FINISHED, OTHER_BODY, OVERLOADED),
        headers=PLACED,
    ),
    "list_tasks": Entry(
        answers={200: {"tasks": [examples.RUNNING], "next_page_token": examples.TOKEN}}, refusals=(BAD_TOKEN,)
    ),
    "get_task": Entry(answers={200: examples.RUNNING}, refusals=(NO_TASK,)),
    "get_result": Entry(answers={200: examples.RESULT}, refusals=(NO_TASK, NOT_FINISHED)),
    "cancel_task": Entry(
        body={"reason": "not needed", "grace": "5s"},
        answers={202: examples.CANCELLING, 200: examples.CANCELLED},
        refusals=(NO_TASK, FINISHED, CHANGING, OVERLOADED),
    ),
    "clean_up_tasks": Entry(body={"older_than": "30d"}, answers={200: {"removed": 120}}),
    "read_logs": Entry(
        answers={
            200: Forms("What the task printed", examples.OUTPUT),
            206: Forms("The bytes of a range", {"text/plain": "line 2\n"}),
        },
        refusals=(NO_TASK, NO_FORM, NO_RANGE, TOGETHER),
        headers=READING,
    ),
    "list_agents": Entry(answers={200: {"agents": [examples.AGENT]}}),
    "get_agent": Entry(answers={200: examples.AGENT}, refusals=(NO_AGENT_KNOWN,)),
    "list_agent_tasks": Entry(
        answers={200: {"tasks": [examples.RUNNING], "next_page_token": ""}}, refusals=(NO_AGENT_KNOWN, BAD_TOKEN)
    ),
    "list_agent_sessions": Entry(answers={200: examples.SESSIONS}, refusals=(NO_AGENT_KNOWN, BAD_TOKEN)),
    "get_scheduler_status": Entry(answers={200: examples.SCHEDULER}),
    "get_stats": Entry(answers={200: examples.STATS}, refusals=(BAD_STEP,)),
    "watch_events": Entry(
        answers={200: Forms("Events as they come", {"text/event-stream": examples.EVENTS})}, refusals=(LISTENERS,)
    ),
    "watch_task": Entry(
        answers={200: Forms("Events as they come", {"text/event-stream": examples.EVENTS})},
        refusals=(NO_TASK, LISTENERS),
    ),
    "alive": Entry(answers={200: examples.HEALTH}),
    "ready": Entry(answers={200: examples.READY}, refusals=(NOT_READY,)),
    "profile": Entry(answers={200: Forms("Folded stacks", {"text/plain": examples.STACKS})}, refusals=(PROFILED,)),
    "metrics": Entry(answers={200: Forms("What was counted and measured", {"text/plain": examples.METRICS})}),
}
