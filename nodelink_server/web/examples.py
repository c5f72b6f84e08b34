"""Values as callers really see them, for the published description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

TASK_ID = "019a7b1c-5e2f-7c3a-9d41-6b8e2f0a1c57"
OTHER_TASK_ID = "019a7b20-0d4e-7b12-8f66-31c0d9e7a4b2"
AGENT_ID = "5f0c1e9a7d2b4c63"
TOKEN = "AAAAAAAAACr5x0m3q2V1bA"  # noqa: S105 - of a page
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

NEW_TASK: Json = {"type": "echo", "payload": {"hello": "world"}, "priority": "HIGH", "metadata": {"team": "blue"}}
NEW_SHELL_TASK: Json = {"command": "echo hello; sleep 1", "env": {"LANG": "C"}, "timeout": "1m"}
NEW_BATCH: Json = {"tasks": [{"type": "echo", "payload": 1}, {"type": "nonsense"}]}

_EMPTY: Json = {
    "progress": None,
    "retry_of": None,
    "traceparent": None,
    "lease_until": None,
    "workspace": None,
    "labels": None,
    "resources": None,
    "retry": None,
    "assignment": None,
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
    "execution": "replayable",
    "last_contact": None,
    "may_have_run": False,
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
            "containment": "process_group",
        }
    ],
    "sent_at": "2026-01-31T09:30:00.252Z",
    "started_at": "2026-01-31T09:30:00.260Z",
    "updated_at": "2026-01-31T09:30:00.260Z",
    "last_contact": "2026-01-31T09:30:04.900Z",
    "progress": {"fraction": 0.5, "message": "half of it"},
    "revision": 43,
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
RETRIED: Json = {**PENDING, "id": OTHER_TASK_ID, "retry_of": TASK_ID, "traceparent": TRACEPARENT, "revision": 57}
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
    "labels": {"zone": "north"},
    "slots": 5,
    "free_slots": 4,
    "current_tasks": [TASK_ID],
    "last_heartbeat_at": "2026-01-31T09:30:04.900Z",
    "types": ["echo", "shell"],
    "software_version": "0.1.0",
    "resources": None,
    "plan_limit": None,
    "plan_running": None,
    "apply_running": None,
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
}
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
