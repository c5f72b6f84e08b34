"""The tables of docs/errors.md: one error in every language that we speak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nodelink.cli.exit_codes import OF_ERRORS, code_of_error
from nodelink.client.failures import CLASSES
from nodelink.errors import ErrorCode
from nodelink_server.rpc.statuses import STATUS_CODES
from nodelink_server.web.errors import HTTP_CODES, STATUSES, phrase
from tests.support.doc_parts import table

MEANINGS: dict[ErrorCode, str] = {
    ErrorCode.MALFORMED: "the request cannot be read",
    ErrorCode.INVALID: "a field is wrong; the answer names it",
    ErrorCode.NOT_BUILT: "published, but not available in this version",
    ErrorCode.TOO_LARGE: "over a [limit](limits.md)",
    ErrorCode.NOT_FOUND: "no such task, agent or path",
    ErrorCode.CONFLICT: "it changed meanwhile, ask again; or it is not `unknown`, and cannot be resolved",
    ErrorCode.NOT_FINISHED: "the task goes on: too early for its result or a retry",
    ErrorCode.ALREADY_FINISHED: "the task has ended: too late to cancel it, or to decide about it",
    ErrorCode.PLAN_NOT_WAITING: "no [plan](plans.md) waits for an approval: none is made yet, or it was approved",
    ErrorCode.PLAN_CHANGED: "another [plan](plans.md) waits than the one that was named",
    ErrorCode.CANNOT_EXTEND: "the task is not with an agent that could keep [other limits](timeouts.md#extending)",
    ErrorCode.IDEMPOTENCY_CONFLICT: "the key was used for another request",
    ErrorCode.UNIQUE_KEY_TAKEN: "a live task has the unique key",
    ErrorCode.DIGEST_MISMATCH: "the [bytes](data.md) that came are not those that were announced; they are removed",
    ErrorCode.QUOTA_EXCEEDED: "the workspace has no room for so many [bytes](data.md#how-much)",
    ErrorCode.PRECONDITION_FAILED: "the [state](data.md#states-of-workspaces) is not the one that was to be replaced",
    ErrorCode.PRECONDITION_REQUIRED: "it must be said which state is replaced",
    ErrorCode.UNAUTHENTICATED: "the caller has not proved who it is",
    ErrorCode.FORBIDDEN: "the caller may not do this; over HTTP also: a Host or an Origin that is not the server's",
    ErrorCode.OVERLOADED: "too much at once; come again later",
    ErrorCode.NO_AGENT: "`queue_timeout` is 0 and no fitting agent has room now",
    ErrorCode.UNAVAILABLE: "it cannot be made durable now; the server is stopping, or cannot be reached",
    ErrorCode.HANDSHAKE_REFUSED: "agents only: the session cannot begin, or broke the protocol",
    ErrorCode.SESSION_REPLACED: "agents only: the agent has connected again",
    ErrorCode.INTERNAL: "our fault; the server's log has the `request_id`",
}


def codes() -> Iterator[str]:
    """Every code in the words of HTTP, gRPC, the Python client and the shell."""
    head = ("code", "HTTP", "gRPC", "Python", "exit code", "means")
    return table(head, (_row(code) for code in ErrorCode))


def codes_of_http() -> Iterator[str]:
    """The codes that only HTTP knows."""
    own = {code.value for code in ErrorCode}
    rows = ((f"`{code}`", str(status), phrase(status)) for status, code in HTTP_CODES.items() if str(code) not in own)
    return table(("code", "HTTP", "means"), sorted(rows))


def _row(code: ErrorCode) -> tuple[str, ...]:
    cls = CLASSES[code]
    return (
        f"`{code.value}`",
        ", ".join(map(str, _http()[code])),
        f"`{STATUS_CODES[code].name}`",
        f"`{cls.__name__}`",
        str(int(code_of_error(cls())) if code in OF_ERRORS else ""),
        MEANINGS[code],
    )


def _http() -> dict[str, list[int]]:
    """The statuses of each code: our own first, then those of HTTP itself that share it."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for code, status in STATUSES.items():
        found[code].append(status)
    for status, name in HTTP_CODES.items():
        if name in found and status not in found[name]:
            found[name].append(status)
    return found
