"""Values of blobs as callers really see them, for the published description."""

from __future__ import annotations

from nodelink_server.web.examples import TASK_ID, Json

SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
ARTIFACT_NAME = "plan.out"
NEW_ARTIFACT: Json = {"sha256": SHA256, "size": 5, "workspace": ""}
UPLOAD: Json = {**NEW_ARTIFACT, "offset": 0, "complete": False}
UPLOADED: Json = {**NEW_ARTIFACT, "offset": 5, "complete": True}
ARTIFACTS: Json = {
    "artifacts": [
        {
            "sha256": SHA256,
            "size": 5,
            "workspace": "site",
            "created_at": "2026-01-31T09:30:00.000Z",
            "used_at": "2026-01-31T09:30:00.000Z",
        }
    ],
    "next_page_token": "",
    "used": 5,
    "quota": 10_737_418_240,
}
ARTIFACT: Json = {
    "name": ARTIFACT_NAME,
    "attempt": 1,
    "sha256": SHA256,
    "size": 5,
    "created_at": "2026-01-31T09:30:00.000Z",
}
STATE: Json = {
    "workspace": "site",
    "version": 3,
    "etag": f"3-{SHA256[:16]}",
    "sha256": SHA256,
    "size": 5,
    "created_at": "2026-01-31T09:30:00.000Z",
    "task_id": TASK_ID,
}
