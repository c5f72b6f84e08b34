"""What can go wrong, in families. Each class carries its code; its docstring is the default message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """The public code of an error. Each edge has one table from here to its own language."""

    MALFORMED = "MALFORMED"
    INVALID = "INVALID"
    NOT_BUILT = "NOT_BUILT"
    TOO_LARGE = "TOO_LARGE"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    NOT_FINISHED = "NOT_FINISHED"
    ALREADY_FINISHED = "ALREADY_FINISHED"
    CANNOT_EXTEND = "CANNOT_EXTEND"
    PLAN_NOT_WAITING = "PLAN_NOT_WAITING"
    PLAN_CHANGED = "PLAN_CHANGED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    UNIQUE_KEY_TAKEN = "UNIQUE_KEY_TAKEN"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    PRECONDITION_FAILED = "PRECONDITION_FAILED"
    PRECONDITION_REQUIRED = "PRECONDITION_REQUIRED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    OVERLOADED = "OVERLOADED"
    NO_AGENT = "NO_AGENT"
    UNAVAILABLE = "UNAVAILABLE"
    HANDSHAKE_REFUSED = "HANDSHAKE_REFUSED"
    SESSION_REPLACED = "SESSION_REPLACED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong, and what would be right."""

    field: str
    message: str


class NodelinkError(Exception):
    """Something went wrong."""

    code = ErrorCode.INTERNAL

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.retry_after = retry_after
        """Seconds after which trying again may help; None: it will not."""
        self.request_id = ""
        """The name under which the server has noted the call that failed; empty: not known."""

    @property
    def message(self) -> str:
        """The error in words."""
        return str(self)


class CallerError(NodelinkError):
    """The request cannot be carried out as it stands."""

    code = ErrorCode.INVALID


class Malformed(CallerError):
    """The request cannot be read."""

    code = ErrorCode.MALFORMED


class InvalidTask(CallerError):
    """The task is not valid."""

    code = ErrorCode.INVALID

    def __init__(self, *errors: FieldError, message: str = "") -> None:
        super().__init__(message or "; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = errors


class NotBuilt(InvalidTask):
    """This part of the interface is not available in this version."""

    code = ErrorCode.NOT_BUILT


class TooLarge(InvalidTask):
    """The request is larger than the limit."""

    code = ErrorCode.TOO_LARGE


class TaskNotFound(CallerError):
    """There is no such task."""

    code = ErrorCode.NOT_FOUND


class AgentNotFound(CallerError):
    """There is no such agent."""

    code = ErrorCode.NOT_FOUND


class WorkspaceNotFound(CallerError):
    """There is no such workspace."""

    code = ErrorCode.NOT_FOUND


class CheckpointNotFound(CallerError):
    """There is no such checkpoint."""

    code = ErrorCode.NOT_FOUND


class ServerNotEmpty(CallerError):
    """A checkpoint can only be loaded by a server that has never had a task."""

    code = ErrorCode.CONFLICT


class WorkspaceConflict(CallerError):
    """There is a workspace of this name already, or live tasks name it that is to go."""

    code = ErrorCode.CONFLICT


class BlobNotFound(CallerError):
    """There are no such bytes."""

    code = ErrorCode.NOT_FOUND


class BlobConflict(CallerError):
    """The bytes do not follow those that are there, or the name stands for others already."""

    code = ErrorCode.CONFLICT


class DigestMismatch(CallerError):
    """The bytes are not those that were announced; what had come of them is removed."""

    code = ErrorCode.DIGEST_MISMATCH


class QuotaExceeded(CallerError):
    """The workspace has no room for so many bytes."""

    code = ErrorCode.QUOTA_EXCEEDED


class StateChanged(CallerError):
    """The state of the workspace is not the one that was to be replaced."""

    code = ErrorCode.PRECONDITION_FAILED


class StateUnguarded(CallerError):
    """It must be said which state is replaced."""

    code = ErrorCode.PRECONDITION_REQUIRED


class TaskAlreadyFinished(CallerError):
    """The task has already finished and can no longer be cancelled."""

    code = ErrorCode.ALREADY_FINISHED


class TaskNotFinished(CallerError):
    """The task has not finished yet."""

    code = ErrorCode.NOT_FINISHED


class TaskNotInDoubt(CallerError):
    """It is known how the task stands: only what is unknown can be resolved."""

    code = ErrorCode.CONFLICT


class PlanNotWaiting(CallerError):
    """No plan of the task waits for an approval."""

    code = ErrorCode.PLAN_NOT_WAITING


class PlanNotFound(CallerError):
    """The task has made no plan."""

    code = ErrorCode.NOT_FOUND


class PlanChanged(CallerError):
    """Another plan waits for an approval than the one that was named."""

    code = ErrorCode.PLAN_CHANGED


class CannotExtend(CallerError):
    """The task cannot be given other limits as it stands."""

    code = ErrorCode.CANNOT_EXTEND


class IdempotencyConflict(CallerError):
    """The idempotency key was used before, for a different request."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT


class UniqueKeyTaken(CallerError):
    """A live task has the unique key."""

    code = ErrorCode.UNIQUE_KEY_TAKEN


class NotAuthenticated(CallerError):
    """The caller has not proved who it is."""

    code = ErrorCode.UNAUTHENTICATED


class NotAllowed(CallerError):
    """The caller may not do this."""

    code = ErrorCode.FORBIDDEN


class Overloaded(CallerError):
    """The server has too much to do; try again later."""

    code = ErrorCode.OVERLOADED


class NoAgent(CallerError):
    """No fitting agent has room now."""

    code = ErrorCode.NO_AGENT


class LinkError(NodelinkError):
    """The stream between an agent and its server failed."""

    code = ErrorCode.UNAVAILABLE


class HandshakeRefused(LinkError):
    """The server does not accept this agent."""

    code = ErrorCode.HANDSHAKE_REFUSED

    def __init__(self, message: str = "", *, last_session: int | None = None) -> None:
        super().__init__(message)
        self.last_session = last_session
        """The number that the next session's must exceed; None: another number would not help."""


class ProtocolViolation(LinkError):
    """The peer sent what the protocol does not allow."""

    code = ErrorCode.HANDSHAKE_REFUSED


class CreditExceeded(ProtocolViolation):
    """The peer sent more than its credit allows."""

    code = ErrorCode.OVERLOADED


class SessionReplaced(LinkError):
    """The agent has connected again."""

    code = ErrorCode.SESSION_REPLACED


class LinkLost(LinkError):
    """Contact was lost."""


class CannotListen(NodelinkError):
    """The address cannot be listened on."""

    code = ErrorCode.UNAVAILABLE


class StoreError(NodelinkError):
    """The database failed."""

    code = ErrorCode.UNAVAILABLE


class StoreUnavailable(StoreError):
    """The database cannot make this durable now; try again later."""

    def __init__(self, message: str = "", *, retry_after: float = 5.0) -> None:
        super().__init__(message, retry_after=retry_after)


class StoreConflict(StoreError):
    """The stored value is not the one that was expected."""

    code = ErrorCode.CONFLICT


class IllegalTransition(Exception):
    """A move that the table of statuses does not know: a bug of ours, never an answer to anyone."""
