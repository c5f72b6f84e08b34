"""Exit codes: the table from our errors, and from the ends of tasks, to the language of the shell."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING

from nodelink.errors import ErrorCode, NodelinkError
from nodelink.task import ErrorCategory, TaskStatus

if TYPE_CHECKING:
    from nodelink.client import TaskResult


class Exit(IntEnum):
    """The published exit codes. Under `run`, any other is the task's own."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DENIED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    NOT_AUTHENTICATED = 6
    UNREACHABLE = 7
    TIMED_OUT = 124
    LOST = 125
    INTERRUPTED = 130


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done; under run the command's own 0",
    Exit.FAILED: "the task failed without an exit code of its own, or nobody reads our output any more",
    Exit.USAGE: "wrong usage, a task that is not valid, or a part that is not available in this version",
    Exit.DENIED: "not allowed, or over a quota",
    Exit.NOT_FOUND: "there is no such task, agent, workspace or artifact",
    Exit.CONFLICT: "it stands otherwise: it has ended, has not ended yet, is there already, is in use, or several fit",
    Exit.NOT_AUTHENTICATED: "not authenticated",
    Exit.UNREACHABLE: "the server cannot be reached, or cannot answer now",
    Exit.TIMED_OUT: "timed out",
    Exit.LOST: "lost, or the infrastructure failed",
    Exit.INTERRUPTED: "interrupted, or cancelled",
}
"""What each of them means, in the words of the help."""

OF_ERRORS: Mapping[str, Exit] = {
    ErrorCode.MALFORMED: Exit.USAGE,
    ErrorCode.INVALID: Exit.USAGE,
    ErrorCode.NOT_BUILT: Exit.USAGE,
    ErrorCode.TOO_LARGE: Exit.USAGE,
    ErrorCode.NOT_FOUND: Exit.NOT_FOUND,
    ErrorCode.CONFLICT: Exit.CONFLICT,
    ErrorCode.NOT_FINISHED: Exit.CONFLICT,
    ErrorCode.ALREADY_FINISHED: Exit.CONFLICT,
    ErrorCode.CANNOT_EXTEND: Exit.CONFLICT,
    ErrorCode.PLAN_NOT_WAITING: Exit.CONFLICT,
    ErrorCode.PLAN_CHANGED: Exit.CONFLICT,
    ErrorCode.IDEMPOTENCY_CONFLICT: Exit.CONFLICT,
    ErrorCode.UNIQUE_KEY_TAKEN: Exit.CONFLICT,
    ErrorCode.DIGEST_MISMATCH: Exit.CONFLICT,
    ErrorCode.QUOTA_EXCEEDED: Exit.DENIED,
    ErrorCode.PRECONDITION_FAILED: Exit.CONFLICT,
    ErrorCode.PRECONDITION_REQUIRED: Exit.USAGE,
    ErrorCode.UNAUTHENTICATED: Exit.NOT_AUTHENTICATED,
    ErrorCode.FORBIDDEN: Exit.DENIED,
    ErrorCode.OVERLOADED: Exit.UNREACHABLE,
    ErrorCode.NO_AGENT: Exit.LOST,
    ErrorCode.UNAVAILABLE: Exit.UNREACHABLE,
    ErrorCode.HANDSHAKE_REFUSED: Exit.CONFLICT,
    ErrorCode.SESSION_REPLACED: Exit.CONFLICT,
    ErrorCode.INTERNAL: Exit.LOST,
}

_OF_ENDS: Mapping[TaskStatus, Exit] = {
    TaskStatus.COMPLETED: Exit.OK,
    TaskStatus.TIMEOUT: Exit.TIMED_OUT,
    TaskStatus.CANCELLED: Exit.INTERRUPTED,
    TaskStatus.LOST: Exit.LOST,
    TaskStatus.SKIPPED: Exit.FAILED,
}

_NOT_ITS_FAULT = {ErrorCategory.INFRASTRUCTURE, ErrorCategory.INTERNAL}


def code_of_error(error: NodelinkError) -> int:
    """The exit code after an error."""
    return OF_ERRORS.get(error.code, Exit.FAILED)


def code_of_result(result: TaskResult) -> int:
    """The exit code that stands for the end of a task: its command's own where it has one."""
    if result.status is not TaskStatus.FAILED:
        return _OF_ENDS.get(result.status, Exit.FAILED)
    if result.error_category in _NOT_ITS_FAULT:
        return Exit.LOST
    return result.exit_code or Exit.FAILED
