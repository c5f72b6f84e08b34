"""What the code of the routes does not say of them: how each can refuse, its headers, and examples.

By `operationId`, which is the name of the route's function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nodelink.errors import ErrorCode
from nodelink_server.core.limit_views import RIGHT_NAME
from nodelink_server.web import examples, examples_blobs


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
NOT_UNIQUE = Refusal(409, ErrorCode.UNIQUE_KEY_TAKEN, f"task {examples.OTHER_TASK_ID} has the unique key 'nightly'")
NOT_FINISHED = Refusal(409, ErrorCode.NOT_FINISHED, "The task has not finished yet: it is in_progress.")
FINISHED = Refusal(409, ErrorCode.ALREADY_FINISHED, "the task has already finished: completed")
CHANGING = Refusal(409, ErrorCode.CONFLICT, "the task changes faster than it can be cancelled; try again")
UNDECIDED = Refusal(409, ErrorCode.CONFLICT, "the task changes faster than anything can be decided about it; try again")
NOT_IN_DOUBT = Refusal(409, ErrorCode.CONFLICT, "only what is unknown can be resolved; the task is in_progress")
NOT_WITH_AGENT = Refusal(
    409, ErrorCode.CANNOT_EXTEND, "only a task that is with an agent can be extended; this one is pending"
)
EXTENDING = Refusal(409, ErrorCode.CONFLICT, "the task changes faster than it can be extended; try again")
NO_PLAN = Refusal(404, ErrorCode.NOT_FOUND, "the task has made no plan; it is in_progress")
NOT_PLANNED = Refusal(409, ErrorCode.PLAN_NOT_WAITING, "the task has no plan that could be approved; it is in_progress")
OTHER_PLAN = Refusal(
    409,
    ErrorCode.PLAN_CHANGED,
    f"the plan that waits has the SHA-256 '{examples.PLAN_SHA256}', and not '{examples.OLD_PLAN_SHA256}'",
)
NO_APPROVER = Refusal(
    403, ErrorCode.FORBIDDEN, "'local' has submitted the task, and somebody else has to approve its plan"
)
NO_DIGEST = Refusal(422, ErrorCode.INVALID, "String should match pattern '^[0-9a-f]{64}$'", field="plan_sha256")
NO_REASON = Refusal(422, ErrorCode.INVALID, "is needed, and has at most 1,000 characters", field="reason")
NO_CHECKPOINT = Refusal(404, ErrorCode.NOT_FOUND, f"there is no checkpoint '{examples.CHECKPOINT_ID}'")
NOT_EMPTY = Refusal(409, ErrorCode.CONFLICT, "a checkpoint can only be loaded by a server that has never had a task")
TRUNCATED = Refusal(422, ErrorCode.INVALID, "truncated: it has 2,000 bytes of 5,018", field="checkpoint")
TWO_SCOPES = Refusal(
    422, ErrorCode.INVALID, "give a pool or a type, not both: pause the one and then the other", field="type"
)
NO_RESOLUTION = Refusal(422, ErrorCode.INVALID, "must be one of 'completed', 'failed' or 'rerun'", field="as")
NOT_BUILT = Refusal(422, ErrorCode.NOT_BUILT, "not available in this version: workflows", field="depends_on")
BAD_FIELD = Refusal(
    422, ErrorCode.INVALID, "'-5s' is not a duration; write it like 1h30m, 45s or 500ms", field="timeout"
)
BAD_DEADLINE = Refusal(422, ErrorCode.INVALID, "must be at most 7d", field="deadline")
NO_FILTER = Refusal(
    422,
    ErrorCode.INVALID,
    "must say which tasks: give at least one of status, type, pool, workspace, agent_id, label, created_after,"
    " created_before, q or ids",
    field="filter",
)
TOO_MANY_IDS = Refusal(413, ErrorCode.TOO_LARGE, "names 1,001 tasks; at most 1,000 are allowed", field="filter.ids")
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

NO_WORKSPACE = Refusal(404, ErrorCode.NOT_FOUND, "there is no workspace 'site'")
TAKEN_WORKSPACE = Refusal(409, ErrorCode.CONFLICT, "there is a workspace 'site' already")
USED_WORKSPACE = Refusal(409, ErrorCode.CONFLICT, "there are live tasks of workspace 'site'")
NO_CLUSTER = Refusal(
    422, ErrorCode.NOT_BUILT, "kubernetes is not available in this version; use one of agent, local", field="mode"
)
NO_LIMIT = Refusal(422, ErrorCode.INVALID, f"'queue:x' is no limit; write {RIGHT_NAME}", field="name")

NO_BLOB = Refusal(404, ErrorCode.NOT_FOUND, f"there is no blob with the digest {examples_blobs.SHA256}")
NO_STATE = Refusal(404, ErrorCode.NOT_FOUND, "workspace 'site' has no state")
OUT_OF_PLACE = Refusal(409, ErrorCode.CONFLICT, "the upload goes on at offset 3, not at 0")
OTHER_ARTIFACT = Refusal(409, ErrorCode.CONFLICT, "the name 'plan.out' stands for other bytes already")
OTHER_BYTES = Refusal(
    422,
    ErrorCode.DIGEST_MISMATCH,
    "The bytes are not those that were announced; what had come of them is removed.",
)
OVER_QUOTA = Refusal(
    429,
    ErrorCode.QUOTA_EXCEEDED,
    "workspace 'site' has 1,000 bytes of the 1,000 that are allowed: there is no room for 5",
)
WRONG_DIGEST = Refusal(
    422,
    ErrorCode.INVALID,
    "must be a SHA-256: 64 digits from 0 to 9 and a to f, in small letters",
    field="sha256",
)
NO_BYTES = Refusal(416, "RANGE_NOT_SATISFIABLE", "there are 5 bytes")
OTHER_STATE = Refusal(
    412, ErrorCode.PRECONDITION_FAILED, f"the newest state of workspace 'site' is 4-{examples_blobs.SHA256[:16]}"
)
UNGUARDED = Refusal(428, ErrorCode.PRECONDITION_REQUIRED, "It must be said which state is replaced.")
HELD_WORKSPACE = Refusal(409, ErrorCode.CONFLICT, "a task works in workspace 'site': only it saves the state")

SAVING = (
    *(NO_WORKSPACE, NO_BLOB, HELD_WORKSPACE, OTHER_STATE, UNGUARDED),
    *(WRONG_DIGEST, OTHER_BYTES, OVER_QUOTA, OVERLOADED),
)
SUBMITTING = (BAD_FIELD, NOT_BUILT, BIG_PAYLOAD, OTHER_BODY, NOT_UNIQUE, OVERLOADED, NO_AGENT)
PLACED = ("Location", "Idempotency-Replayed")
BYTES = {
    200: Forms("The bytes", {"application/octet-stream": "hello"}),
    206: Forms("The bytes of a range", {"application/octet-stream": "llo"}),
}
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
    "explain_task": Entry(answers={200: examples.TASK_WHY}, refusals=(NO_TASK,)),
    "get_result": Entry(answers={200: examples.RESULT}, refusals=(NO_TASK, NOT_FINISHED)),
    "cancel_task": Entry(
        body={"reason": "not needed", "grace": "5s"},
        answers={202: examples.CANCELLING, 200: examples.CANCELLED},
        refusals=(NO_TASK, FINISHED, CHANGING, OVERLOADED),
    ),
    "extend_task": Entry(
        body={"timeout": "10m", "total_timeout": "1h"},
        answers={200: examples.EXTENDED},
        refusals=(NO_TASK, FINISHED, NOT_WITH_AGENT, EXTENDING, BAD_FIELD, OVERLOADED),
    ),
    "abandon_task": Entry(
        body={"reason": "its machine is gone for good"},
        answers={200: examples.ABANDONED},
        refusals=(NO_TASK, FINISHED, UNDECIDED, NO_REASON, OVERLOADED),
    ),
    "resolve_task": Entry(
        body={"as": "completed", "reason": "the release is out"},
        answers={200: examples.RESOLVED},
        refusals=(NO_TASK, FINISHED, NOT_IN_DOUBT, NO_RESOLUTION, OVERLOADED),
    ),
    "list_plans": Entry(
        answers={200: {"plans": [examples.PLAN], "next_page_token": examples.TOKEN}}, refusals=(BAD_TOKEN,)
    ),
    "get_plan": Entry(answers={200: examples.PLAN}, refusals=(NO_TASK, NO_PLAN)),
    "approve_task": Entry(
        body={"plan_sha256": examples.PLAN_SHA256, "message": "as discussed"},
        answers={200: examples.APPROVED},
        refusals=(NO_TASK, FINISHED, NOT_PLANNED, OTHER_PLAN, NO_APPROVER, NO_DIGEST, UNDECIDED, OVERLOADED),
    ),
    "reject_task": Entry(
        body={"message": "too much at a time"},
        answers={200: examples.REJECTED},
        refusals=(NO_TASK, FINISHED, NOT_PLANNED, OTHER_PLAN, UNDECIDED, OVERLOADED),
    ),
    "bulk_tasks": Entry(
        body={"filter": {"pool": "gpu", "label": ["release=7"]}, "action": "cancel", "reason": "release 8 is out"},
        answers={200: examples.BULK},
        refusals=(NO_FILTER, TOO_MANY_IDS, OTHER_BODY, OVERLOADED),
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
    "explain_agent": Entry(answers={200: examples.AGENT_WHY}, refusals=(NO_AGENT_KNOWN,)),
    "drain_agent": Entry(
        body={"note": "a new disk", "deadline": "10m"},
        answers={200: examples.DRAINED_AGENT},
        refusals=(NO_AGENT_KNOWN, BAD_DEADLINE),
    ),
    "undrain_agent": Entry(answers={200: examples.AGENT}, refusals=(NO_AGENT_KNOWN,)),
    "list_agent_tasks": Entry(
        answers={200: {"tasks": [examples.RUNNING], "next_page_token": ""}}, refusals=(NO_AGENT_KNOWN, BAD_TOKEN)
    ),
    "list_agent_sessions": Entry(answers={200: examples.SESSIONS}, refusals=(NO_AGENT_KNOWN, BAD_TOKEN)),
    "get_scheduler_status": Entry(answers={200: examples.SCHEDULER}),
    "pause_scheduler": Entry(
        body={"pool": "gpu", "reason": "a new driver"},
        answers={200: examples.PAUSED},
        refusals=(TWO_SCOPES, OVERLOADED),
    ),
    "resume_scheduler": Entry(
        body={"checkpoint_id": examples.CHECKPOINT_ID},
        answers={200: {"was_paused": True, "loaded": True, "checkpoint": examples.CHECKPOINT}},
        refusals=(NO_CHECKPOINT, NOT_EMPTY, TRUNCATED, OVERLOADED),
    ),
    "list_checkpoints": Entry(answers={200: {"checkpoints": [examples.CHECKPOINT]}}),
    "take_checkpoint": Entry(answers={201: examples.CHECKPOINT}, headers=("Location",)),
    "get_checkpoint": Entry(answers={200: examples.CHECKPOINT}, refusals=(NO_CHECKPOINT,)),
    "verify_checkpoint": Entry(answers={200: examples.CHECKPOINT}, refusals=(NO_CHECKPOINT, TRUNCATED)),
    "read_checkpoint": Entry(
        answers={200: Forms("The file", {"application/octet-stream": '{"format":"nodelink-checkpoint",…}'})},
        refusals=(NO_CHECKPOINT,),
    ),
    "get_stats": Entry(answers={200: examples.STATS}, refusals=(BAD_STEP,)),
    "watch_events": Entry(
        answers={200: Forms("Events as they come", {"text/event-stream": examples.EVENTS})}, refusals=(LISTENERS,)
    ),
    "watch_task": Entry(
        answers={200: Forms("Events as they come", {"text/event-stream": examples.EVENTS})},
        refusals=(NO_TASK, LISTENERS),
    ),
    "create_workspace": Entry(
        body=examples.NEW_WORKSPACE,
        answers={201: examples.WORKSPACE},
        refusals=(TAKEN_WORKSPACE, NO_CLUSTER, OVERLOADED),
        headers=("Location",),
    ),
    "list_workspaces": Entry(answers={200: {"workspaces": [examples.WORKSPACE]}}),
    "get_workspace": Entry(answers={200: examples.WORKSPACE}, refusals=(NO_WORKSPACE,)),
    "change_workspace": Entry(
        body={"pool": "web", "mode": "agent"},
        answers={200: examples.WORKSPACE},
        refusals=(NO_WORKSPACE, NO_CLUSTER, OVERLOADED),
    ),
    "remove_workspace": Entry(answers={200: examples.WORKSPACE}, refusals=(NO_WORKSPACE, USED_WORKSPACE, OVERLOADED)),
    "announce_artifact": Entry(
        body=examples_blobs.NEW_ARTIFACT,
        answers={200: examples_blobs.UPLOAD},
        refusals=(NO_WORKSPACE, WRONG_DIGEST, OTHER_BYTES, OVER_QUOTA, OVERLOADED),
        headers=("Location",),
    ),
    "list_artifacts": Entry(answers={200: examples_blobs.ARTIFACTS}, refusals=(NO_WORKSPACE, BAD_TOKEN)),
    "put_artifact": Entry(
        answers={200: examples_blobs.UPLOADED},
        refusals=(NO_BLOB, OUT_OF_PLACE, WRONG_DIGEST, OTHER_BYTES, OVER_QUOTA, OVERLOADED),
    ),
    "get_artifact": Entry(
        answers=BYTES, refusals=(NO_BLOB, NO_BYTES, WRONG_DIGEST, OVERLOADED), headers=("ETag", "Accept-Ranges")
    ),
    "list_task_artifacts": Entry(answers={200: {"artifacts": [examples_blobs.ARTIFACT]}}, refusals=(NO_TASK,)),
    "attach_artifact": Entry(
        body={"sha256": examples_blobs.SHA256},
        answers={200: examples_blobs.ARTIFACT},
        refusals=(NO_TASK, NO_BLOB, OTHER_ARTIFACT, WRONG_DIGEST, OVER_QUOTA, OVERLOADED),
    ),
    "get_task_artifact": Entry(
        answers=BYTES, refusals=(NO_TASK, NO_BLOB, NO_BYTES, OVERLOADED), headers=("ETag", "Accept-Ranges")
    ),
    "get_state": Entry(
        answers=BYTES, refusals=(NO_WORKSPACE, NO_STATE, NO_BYTES, OVERLOADED), headers=("ETag", "Accept-Ranges")
    ),
    "save_state": Entry(
        answers={200: examples_blobs.STATE},
        refusals=SAVING,
        headers=("ETag",),
    ),
    "list_states": Entry(answers={200: {"states": [examples_blobs.STATE]}}, refusals=(NO_WORKSPACE,)),
    "list_limits": Entry(answers={200: {"limits": [examples.LIMIT], "total": 1}}, refusals=(NO_LIMIT,)),
    "set_limit": Entry(body={"most": 20}, answers={200: examples.LIMIT}, refusals=(NO_LIMIT, OVERLOADED)),
    "remove_limit": Entry(answers={200: examples.NO_LIMIT}, refusals=(NO_LIMIT, OVERLOADED)),
    "alive": Entry(answers={200: examples.HEALTH}),
    "ready": Entry(answers={200: examples.READY}, refusals=(NOT_READY,)),
    "profile": Entry(answers={200: Forms("Folded stacks", {"text/plain": examples.STACKS})}, refusals=(PROFILED,)),
    "metrics": Entry(answers={200: Forms("What was counted and measured", {"text/plain": examples.METRICS})}),
}
