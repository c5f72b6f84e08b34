"""Values as callers really see them, for the published description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

TASK_ID = "019a7b1c-5e2f-7c3a-9d41-6b8e2f0a1c57"
OTHER_TASK_ID = "019a7b20-0d4e-7b12-8f66-31c0d9e7a4b2"
AGENT_ID = "019a7b18-3c0d-7a51-b2e4-9d0f6c1a8e35"
TOKEN = "AAAAAAAAACr5x0m3q2V1bA"  # noqa: S105 - of a page
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

NEW_TASK: Json = {"type": "echo", "payload": {"hello": "world"}, "priority": "HIGH", "metadata": {"team": "blue"}}
NEW_SHELL_TASK: Json = {
    "command": "echo hello; sleep 1",
    "env": {"LANG": "C"},
    "timeout": "1m",
    "retry": {"max_attempts": 5, "initial": "2s", "on": ["exit_code:75", "timeout"]},
    "labels": "zone=north,!spot",
    "resources": {"cpu": 0.5, "memory": "512MiB"},
    "limits": {"database": 4},
    "rate": {"mail": "10/1m"},
}
NEW_BATCH: Json = {"tasks": [{"type": "echo", "payload": 1}, {"type": "nonsense"}]}

_EMPTY: Json = {
    "progress": None,
    "retry": None,
    "failures": 0,
    "retry_at": None,
    "retry_of": None,
    "traceparent": None,
    "only_agent_id": None,
    "labels": None,
    "slots": 1,
    "resources": {},
    "limits": {},
    "rate": {},
    "when_taken": "wait",
    "workspace": None,
    "unique_key": None,
    "on_conflict": "fail",
    "fairness_key": None,
    "fairness_weight": 1,
    "approval": None,
    "plan_sha256": None,
    "assignment": None,
    "in_force": [],
}

PENDING: Json = {
    "id": TASK_ID,
    "type": "echo",
    "status": "pending",
    "reason": "agent",
    "message": "no agent of the pool default has a free slot",
    "priority": 75,
    "pool": "default",
    "agent_id": None,
    "attempt": 0,
    "attempts": [],
    "created_at": "2026-01-31T09:30:00.250Z",
    "scheduled_at": None,
    "sent_at": None,
    "started_at": None,
    "finished_at": None,
    "updated_at": "2026-01-31T09:30:00.250Z",
    "timeout": None,
    "queue_timeout": None,
    "start_timeout": None,
    "total_timeout": None,
    "heartbeat_timeout": None,
    "execution": "replayable",
    "lock": None,
    "contact": None,
    "last_contact": None,
    "lease_until": None,
    "may_have_run": False,
    "late_results": [],
    "remarks": [],
    "payload": {"hello": "world"},
    "metadata": {"team": "blue"},
    "revision": 41,
    **_EMPTY,
}
SHELL_PENDING: Json = {
    **PENDING,
    "type": "shell",
    "execution": "once",
    "timeout": "1m",
    "priority": 50,
    "payload": {"command": "echo hello; sleep 1", "env": {"LANG": "C"}},
    "metadata": {},
    "retry": {"max_attempts": 5, "initial": "2s", "max": "5m", "multiplier": 2.0, "on": ["exit_code:75", "timeout"]},
    "labels": "!spot,zone=north",
    "resources": {"cpu": 0.5, "memory": 536_870_912},
    "limits": {"database": 4},
    "rate": {"mail": "10/1m"},
}
RUNNING: Json = {
    **PENDING,
    "status": "in_progress",
    "reason": "",
    "message": "",
    "agent_id": AGENT_ID,
    "attempt": 1,
    "attempts": [
        {
            "number": 1,
            "agent_id": AGENT_ID,
            "state": "started",
            "sent_at": "2026-01-31T09:30:00.252Z",
            "started_at": "2026-01-31T09:30:00.260Z",
            "finished_at": None,
            "reason": "",
            "message": "",
            "exit_code": None,
            "signal": None,
            "containment": "process_group",
        }
    ],
    "sent_at": "2026-01-31T09:30:00.252Z",
    "started_at": "2026-01-31T09:30:00.260Z",
    "updated_at": "2026-01-31T09:30:00.260Z",
    "contact": "connected",
    "last_contact": "2026-01-31T09:30:04.900Z",
    "lease_until": "2026-01-31T09:40:04.900Z",
    "may_have_run": True,
    "progress": {"fraction": 0.5, "message": "half of it"},
    "revision": 43,
}
EXTENDED: Json = {
    **RUNNING,
    "remarks": [
        {
            "kind": "extended",
            "at": "2026-01-31T09:30:04.000Z",
            "by": "local",
            "message": "timeout 10m, total timeout 1h",
        }
    ],
    "updated_at": "2026-01-31T09:30:04.000Z",
    "revision": 44,
}
CANCELLING: Json = {
    **RUNNING,
    "status": "cancelling",
    "reason": "cancelled_by_caller",
    "message": "not needed",
    "progress": None,
    "revision": 44,
}
CANCELLED: Json = {
    **PENDING,
    "status": "cancelled",
    "reason": "cancelled_by_caller",
    "message": "not needed",
    "finished_at": "2026-01-31T09:30:05.000Z",
    "updated_at": "2026-01-31T09:30:05.000Z",
    "revision": 42,
}
_DOUBTED: Json = {
    **RUNNING,
    "execution": "exclusive",
    "lock": "deploy eu-1",
    "contact": None,
    "last_contact": None,
    "lease_until": None,
    "progress": None,
    "remarks": [
        {
            "kind": "unknown",
            "at": "2026-01-31T09:40:04.950Z",
            "by": None,
            "message": "its agent was not heard of for 10m",
        }
    ],
}
PLAN_SHA256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
OLD_PLAN_SHA256 = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
PLAN: Json = {
    "task_id": TASK_ID,
    "status": "plan_completed",
    "attempt": 1,
    "sha256": PLAN_SHA256,
    "size": 18_432,
    "inputs_sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
    "target": "site",
    "summary": "1 to add, 2 to change, 0 to destroy",
    "planned_at": "2026-01-31T09:30:02.000Z",
    "expires_at": "2026-02-01T09:30:02.000Z",
    "approved_by": None,
    "approved_at": None,
}
_CHANGE: Json = {
    **PENDING,
    "type": "plan_and_apply",
    "execution": "exclusive",
    "lock": f"task:{TASK_ID}",
    "payload": {"tool": "ansible", "source": "site.yml"},
    "message": "",
    "workspace": "site",
    "plan_sha256": PLAN_SHA256,
    "updated_at": "2026-01-31T09:35:00.000Z",
    "revision": 47,
}
APPROVED: Json = {
    **_CHANGE,
    "status": "apply_pending",
    "remarks": [
        {
            "kind": "approved",
            "at": "2026-01-31T09:35:00.000Z",
            "by": "local",
            "message": f"plan {PLAN_SHA256}: as discussed",
        }
    ],
}
REJECTED: Json = {
    **_CHANGE,
    "status": "cancelled",
    "reason": "approval_denied",
    "message": "too much at a time",
    "finished_at": "2026-01-31T09:35:00.000Z",
    "remarks": [
        {
            "kind": "rejected",
            "at": "2026-01-31T09:35:00.000Z",
            "by": "local",
            "message": f"plan {PLAN_SHA256}: too much at a time",
        }
    ],
}
ABANDONED: Json = {
    **_DOUBTED,
    "status": "failed",
    "reason": "abandoned",
    "message": "its machine is gone for good",
    "finished_at": "2026-01-31T10:05:00.000Z",
    "updated_at": "2026-01-31T10:05:00.000Z",
    "remarks": [
        *_DOUBTED["remarks"],
        {
            "kind": "abandoned",
            "at": "2026-01-31T10:05:00.000Z",
            "by": "local",
            "message": "its machine is gone for good",
        },
    ],
    "revision": 52,
}
RESOLVED: Json = {
    **_DOUBTED,
    "status": "completed",
    "reason": "resolved",
    "message": "the release is out",
    "finished_at": "2026-01-31T10:05:00.000Z",
    "updated_at": "2026-01-31T10:05:00.000Z",
    "late_results": [
        {
            "attempt": 1,
            "agent_id": AGENT_ID,
            "received_at": "2026-01-31T10:20:00.000Z",
            "outcome": "completed",
            "exit_code": 0,
            "message": "",
        }
    ],
    "remarks": [
        *_DOUBTED["remarks"],
        {"kind": "resolved", "at": "2026-01-31T10:05:00.000Z", "by": "local", "message": "the release is out"},
    ],
    "revision": 52,
}
RETRIED: Json = {
    **PENDING,
    "id": OTHER_TASK_ID,
    "retry_of": TASK_ID,
    "traceparent": TRACEPARENT,
    "revision": 57,
    "assignment": {"tries": 1, "next_at": "2026-01-31T09:30:10.250Z", "reason": "none_free"},
}
RESULT: Json = {
    "task_id": TASK_ID,
    "status": "completed",
    "reason": "",
    "attempt": 1,
    "exit_code": None,
    "signal": None,
    "output": {"hello": "world"},
    "error": None,
    "metrics": {"queue_seconds": 0.002, "run_seconds": 0.001, "cpu_seconds": 0.0, "max_rss_bytes": 0},
    "metadata": {"team": "blue"},
    "started_at": "2026-01-31T09:30:00.260Z",
    "completed_at": "2026-01-31T09:30:00.262Z",
}
OUTCOMES: Json = {
    "outcomes": [
        {"task_id": TASK_ID, "status": "sent", "replayed": False, "error": None},
        {
            "task_id": None,
            "status": None,
            "replayed": False,
            "error": {
                "code": "INVALID",
                "detail": "type: 'nonsense' is not known; known types are echo, shell",
                "errors": [{"field": "type", "message": "'nonsense' is not known; known types are echo, shell"}],
            },
        },
    ]
}
AGENT: Json = {
    "id": AGENT_ID,
    "name": "build-1",
    "pool": "default",
    "status": "online",
    "cordon_reason": None,
    "drained_at": None,
    "drain_deadline": None,
    "drain_note": None,
    "labels": {"zone": "north"},
    "slots": 5,
    "used_slots": 1,
    "free_slots": 4,
    "current_tasks": [TASK_ID],
    "last_heartbeat_at": "2026-01-31T09:30:04.900Z",
    "types": ["echo", "shell"],
    "software_version": "0.1.0",
    "resources": {
        "cpu": {"total": 4, "used": 0.5},
        "memory": {"total": 8_589_934_592, "used": 536_870_912},
    },
    "type_limits": {"shell": 2},
    "plan_limit": 3,
    "plan_running": 0,
    "apply_running": 0,
}
BULK: Json = {
    "matched": 12,
    "done": 11,
    "skipped": {"already being stopped": 1},
    "ids": [OTHER_TASK_ID, TASK_ID],
    "more": False,
    "next_page_token": "",
}
DRAINED_AGENT: Json = {
    **AGENT,
    "status": "draining",
    "free_slots": 0,
    "drained_at": "2026-01-31T09:30:05.000Z",
    "drain_deadline": "2026-01-31T09:40:05.000Z",
    "drain_note": "a new disk",
}
_NO_SLOT: Json = {"condition": "slots", "holds": False, "message": "its 5 slot(s) are taken"}
_RUNNING_SCHEDULER: Json = {"condition": "scheduler", "holds": True, "message": ""}
_CONNECTED: Json = {"condition": "connected", "holds": True, "message": ""}
_OPEN: tuple[Json, ...] = (
    {"condition": "cordon", "holds": True, "message": ""},
    {"condition": "drain", "holds": True, "message": ""},
)
TASK_WHY: Json = {
    "task_id": TASK_ID,
    "status": "pending",
    "reason": "agent",
    "summary": "waits for a free slot, behind 3 other(s)",
    "conditions": [_RUNNING_SCHEDULER],
    "agents": [
        {
            "agent_id": AGENT_ID,
            "name": "build-1",
            "fits": False,
            "conditions": [
                {"condition": "pool", "holds": True, "message": ""},
                {"condition": "type", "holds": True, "message": ""},
                _CONNECTED,
                {"condition": "type", "holds": True, "message": ""},
                {"condition": "protocol", "holds": True, "message": ""},
                *_OPEN,
                _NO_SLOT,
            ],
        }
    ],
    "agents_total": 1,
    "ruled_out": {"slots": 1},
    "ahead": 3,
    "starts_in": "12s",
    "remedies": ["a slot that becomes free, more slots, or another agent of its pool"],
}
AGENT_WHY: Json = {
    "agent_id": AGENT_ID,
    "summary": "is given nothing: its 5 slot(s) are taken",
    "conditions": [_RUNNING_SCHEDULER, _CONNECTED, *_OPEN, _NO_SLOT],
    "waiting": 4,
}
SESSIONS: Json = {
    "sessions": [
        {
            "number": 2,
            "connected_at": "2026-01-31T09:00:00.000Z",
            "disconnected_at": None,
            "reason": "",
            "software_version": "0.1.0",
        },
        {
            "number": 1,
            "connected_at": "2026-01-30T18:00:00.000Z",
            "disconnected_at": "2026-01-31T08:59:58.100Z",
            "reason": "goodbye",
            "software_version": "0.1.0",
        },
    ],
    "next_page_token": "",
}
SCHEDULER: Json = {
    "state": "running",
    "queued_tasks": 12,
    "running_tasks": 5,
    "max_concurrent_tasks": 0,
    "available_slots": 0,
    "queue_by_priority": {"CRITICAL": 1, "HIGH": 2, "NORMAL": 9, "LOW": 0},
    "last_checkpoint_at": None,
    "pauses": [],
}
CHECKPOINT_ID = "019c1393-7f80-7b2e-9c1d-2f6a0e4b8d13"
CHECKPOINT: Json = {
    "id": CHECKPOINT_ID,
    "url": f"/api/v1/checkpoints/{CHECKPOINT_ID}/content",
    "taken_at": "2026-01-31T09:30:00.000Z",
    "why": "pause",
    "complete": True,
    "waiting": 12,
    "running": 0,
    "bytes": 5018,
    "sha256": "5f2b0a6f3c1d9e7a4b8c6d2e0f1a3b5c7d9e1f3a5b7c9d1e3f5a7b9c1d3e5f70",
    "version": 2,
    "cluster_id": "019c1393-0000-7a5e-8b3c-1d2e3f4a5b6c",
    "ended_left_out": 0,
    "blobs": 0,
    "blob_bytes": 0,
    "blobs_left_out": 1,
    "left_out": [
        {
            "sha256": PLAN_SHA256,
            "size": 20_000_000,
            "why": "too large",
            "task_id": TASK_ID,
            "name": "site.tar",
            "workspace": "site",
        }
    ],
}
PAUSED: Json = {
    "scope": "pool:gpu",
    "since": "2026-01-31T09:30:00.000Z",
    "by": "local",
    "reason": "a new driver",
    "checkpoint": CHECKPOINT,
    "content": None,
}
NEW_WORKSPACE: Json = {"name": "site", "pool": "web", "mode": "agent", "execution": "exclusive"}
WORKSPACE: Json = {**NEW_WORKSPACE, "created_at": "2026-01-31T09:00:00.000Z"}
LIMIT: Json = {
    "name": "pool:default",
    "most": 20,
    "settings_most": None,
    "taken": 1,
    "holders": [{"task_id": TASK_ID, "agent_id": AGENT_ID, "since": "2026-01-31T09:30:00.252Z"}],
    "waiting": [],
    "waiting_more": 0,
}
NO_LIMIT: Json = {**LIMIT, "most": None}
_DURATIONS: Json = {"count": 60, "mean": 0.4, "p50": 0.25, "p99": 2.1}
STATS: Json = {
    "from": "2026-01-31T08:30:00.000Z",
    "to": "2026-01-31T09:30:00.000Z",
    "step": "1h",
    "buckets": [
        {
            "start": "2026-01-31T08:30:00.000Z",
            "groups": [
                {
                    "key": "default",
                    "created": 62,
                    "finished": {"completed": 58, "failed": 2},
                    "queue_seconds": _DURATIONS,
                    "run_seconds": _DURATIONS,
                    "total_seconds": _DURATIONS,
                    "assigned": 61,
                    "returned": 1,
                    "assignment_success": 0.984,
                }
            ],
        }
    ],
    "now": {
        "live": {"pending": 1, "in_progress": 1},
        "response_channel_depth": 0,
        "response_channel_capacity": 100,
        "response_channel_full": 0,
        "cleanup_runs": 3,
        "cleanup_removed": 0,
    },
}
EVENTS = (
    "retry: 2000\n\n"
    'event: hello\ndata: {"revision":42,"time":"2026-01-31T09:30:00.250Z"}\n\n'
    "id: 43\nevent: task.started\n"
    f'data: {{"revision":43,"time":"2026-01-31T09:30:00.260Z","task_id":"{TASK_ID}","status":"in_progress"}}\n\n'
)
OUTPUT: Mapping[str, str] = {
    "text/plain": "line 1\nline 2\n",
    "application/x-ndjson": '{"stream":"stdout","attempt":1,"offset":0,"data":"line 1\\nline 2\\n"}\n',
    "text/event-stream": (
        "retry: 2000\n\n"
        'id: 14\nevent: task.output\ndata: {"stream":"stdout","attempt":1,"offset":0,"data":"line 1\\nline 2\\n"}\n\n'
        'event: end\ndata: {"next_offset":14,"complete":true}\n\n'
    ),
}
HEALTH: Json = {"status": "ok", "version": "0.1.0", "insecure": False}
READY: Json = {**HEALTH, "status": "ready", "database": True, "dispatch": True, "draining": False}
STACKS = "main;run_forever;_run_once;select 412\nmain;run_forever;_run_once;_run;commit 31\n"
METRICS = (
    '# HELP nodelink_tasks_live Tasks that have not ended.\nnodelink_tasks_live{pool="default",status="pending"} 1.0\n'
)
